//go:build linux

// Package hostinfo reads the facts of the machine that plans depend on: its
// resolvers, its routes, what its kernel can do.
package hostinfo

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Where resolvers are read from.
const (
	ResolvConf = "/etc/resolv.conf"
	// resolvedConf has the real resolvers where systemd-resolved's stub is all
	// that ResolvConf names (systemd-resolved.service(8)).
	resolvedConf = "/run/systemd/resolve/resolv.conf"
)

// stub is systemd-resolved's address, which means nothing inside a container.
var stub = netip.AddrFrom4([4]byte{127, 0, 0, 53})

// Resolvers is a resolv.conf(5).
type Resolvers struct {
	Path      string           // the file that was read
	Content   string           // as it is
	Upstreams []netip.AddrPort // nameserver lines
	Search    []string         // the last search or domain line
	Options   []string         // all options, in order
}

// ReadResolvers reads the host's resolvers from path, usually ResolvConf; where
// it names systemd-resolved's stub alone, from the file behind it. A file that
// is not there is a host without resolvers, which is no error.
func ReadResolvers(path string) (Resolvers, error) { return readResolvers(path, resolvedConf) }

func readResolvers(path, behind string) (Resolvers, error) {
	r, err := parseFile(path)
	if err != nil || !onlyStub(r.Upstreams) {
		return r, err
	}
	real, err := parseFile(behind)
	if err != nil || len(real.Upstreams) == 0 {
		return r, err
	}
	return real, nil
}

func onlyStub(upstreams []netip.AddrPort) bool {
	return len(upstreams) > 0 && !slices.ContainsFunc(upstreams, func(a netip.AddrPort) bool { return a.Addr() != stub })
}

func parseFile(path string) (Resolvers, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Resolvers{Path: path}, fmt.Errorf("the host's resolvers: %w", err)
	}
	r := parse(string(b))
	r.Path = path
	return r, nil
}

// parse follows resolv.conf(5): keyword first, # and ; begin a comment, search
// and domain replace each other, options add up. What it can't read it leaves
// out, as the C library does.
func parse(text string) Resolvers {
	r := Resolvers{Content: text}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line, _, _ = strings.Cut(line, ";")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				r.Upstreams = append(r.Upstreams, netip.AddrPortFrom(a.Unmap(), 53))
			}
		case "search":
			r.Search = f[1:]
		case "domain":
			r.Search = f[1:2]
		case "options":
			r.Options = append(r.Options, f[1:]...)
		}
	}
	return r
}
