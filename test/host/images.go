package host

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// cacheDir keeps archives between runs; they are made again when absent.
func cacheDir(t testing.TB) string {
	dir := filepath.Join(binDir(t), "images") // each checkout has its own probe
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

var busybox sync.Mutex

// BusyboxTar gives an archive with Debian's static busybox, its applets, and
// test/probe.
func BusyboxTar(t testing.TB) string {
	t.Helper()
	busybox.Lock()
	defer busybox.Unlock()
	path := filepath.Join(cacheDir(t), "busybox.tar")
	probePath := filepath.Join(binDir(t), "probe")
	if made, err := os.Stat(path); err == nil {
		if source, err := os.Stat(probePath); err == nil && made.ModTime().After(source.ModTime()) {
			return path
		}
	}
	if err := MakeBusyboxTar(path, probePath); err != nil {
		t.Fatal(err)
	}
	return path
}

// MakeBusyboxTar writes an archive with Debian's static busybox, its applets,
// and the probe at that path.
func MakeBusyboxTar(path, probe string) error {
	probeBinary, err := os.ReadFile(probe)
	if err != nil {
		return fmt.Errorf("run `make bin/probe` first: %w", err)
	}
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox-static is not installed; .ci/run installs what the tests need: %w", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		err = errors.Join(err, w.WriteHeader(&h))
		_, writeErr := w.Write(body)
		err = errors.Join(err, writeErr)
	}
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "root", "var"} {
		add(tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, binary)
	add(tar.Header{Name: "bin/probe", Typeflag: tar.TypeReg, Mode: 0o755}, probeBinary)
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	add(tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\n"))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// DebianTar gives an archive of distribution packages made by
// examples/images/debian-image, kept between runs under name.
func DebianTar(t testing.TB, name string, packages ...string) string {
	t.Helper()
	path := filepath.Join(cacheDir(t), name+".tar")
	script := filepath.Join(filepath.Dir(binDir(t)), "examples/images/debian-image")
	if out, err := exec.Command(script, append([]string{path}, packages...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", script, packages, err, out)
	}
	return path
}
