//go:build linux

package link

import (
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parents are the host's devices that interfaces inside are on, by container
// and name, with the index they had; 0: it was not there. Such an interface
// goes with its device, unseen from the host: but the device is seen.
type parents struct {
	mu sync.Mutex
	of map[string]map[string]int
}

func (p *parents) set(container, device string, index int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[string]map[string]int{}
	}
	if p.of[container] == nil {
		p.of[container] = map[string]int{}
	}
	p.of[container][device] = index
}

func (p *parents) forget(container string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, container)
}

// changed gives the containers whose devices are others than they were.
func (p *parents) changed(index map[string]int) map[string]struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]struct{}{}
	for container, devices := range p.of {
		for name, was := range devices {
			if index[name] != was {
				out[container] = struct{}{}
			}
		}
	}
	return out
}

// touched tells whether a message about a link says that a device went or came.
func (p *parents) touched(kind uint16, data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.of) == 0 {
		return false
	}
	index := int(nl.DeserializeIfInfomsg(data).Index)
	name := ""
	if kind == unix.RTM_NEWLINK {
		attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
		if err != nil {
			return false
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				name = strings.TrimRight(string(a.Value), "\x00")
			}
		}
	}
	for _, devices := range p.of {
		for device, was := range devices {
			if kind == unix.RTM_DELLINK && was == index || kind == unix.RTM_NEWLINK && device == name && was != index {
				return true
			}
		}
	}
	return false
}
