//go:build linux

package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// resolveUser finds NAME, UID, UID:GID or NAME:GROUP in the container's own
// /etc/passwd and /etc/group, as Docker does; empty means root.
func resolveUser(rootfs, name string, groups []string) (specs.User, error) {
	passwd, err := readInside(rootfs, "/etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	group, err := readInside(rootfs, "/etc/group")
	if err != nil {
		return specs.User{}, err
	}
	found, err := user.GetExecUser(name, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return specs.User{}, errs.Wrap(errs.Invalid, err)
	}
	extra, err := user.GetAdditionalGroups(groups, bytes.NewReader(group))
	if err != nil {
		return specs.User{}, errs.Wrap(errs.Invalid, err)
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid), AdditionalGids: []uint32{uint32(found.Gid)}}
	for _, g := range append(found.Sgids, extra...) {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	return u, nil
}

// maxUserFile bounds /etc/passwd and /etc/group, in bytes: images are strangers'.
const maxUserFile = 16 << 20

// readInside reads a file of a container; symbolic links stay inside. An
// absent file is empty.
func readInside(rootfs, name string) ([]byte, error) {
	host, err := securejoin.SecureJoin(rootfs, name)
	if err != nil {
		return nil, fmt.Errorf("%s of the container: %w", name, err)
	}
	info, err := os.Lstat(host)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !info.Mode().IsRegular() { // a fifo would be waited for, a device read for ever
		return nil, errs.New(errs.Invalid, "%s of the container is not a regular file", name)
	}
	// What runs inside may put something else there meanwhile.
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s of the container: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUserFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s of the container: %w", name, err)
	}
	if len(data) > maxUserFile {
		return nil, errs.New(errs.Invalid, "%s of the container is larger than %d bytes", name, maxUserFile)
	}
	return data, nil
}
