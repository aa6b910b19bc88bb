package model

import (
	"path"
	"path/filepath"
	"strings"
)

// SysctlPath turns a key into a path below /proc/sys. As in sysctl(8), the first
// separator says which is which: net.ipv4.conf.eth0/100.forwarding is
// net/ipv4/conf/eth0.100/forwarding. A key that names something else than one
// setting below /proc/sys, such as net/../kernel/core_pattern, is not ok.
func SysctlPath(key string) (name string, ok bool) {
	name = key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		name = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	return name, name != "." && filepath.IsLocal(name) && path.Clean(name) == name && !strings.Contains(name, "\x00")
}
