package fake

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
)

// Reaches tells whether a TCP packet to dst:port arrives in a container, and
// in which: from another container by its ID, or from outside the host with
// from "". Destinations that are not on from's own networks are taken for the
// host's addresses, with what is published there.
func (h *Host) Reaches(from string, dst netip.Addr, port uint16) (container string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from != "" {
		if h.ns[from] == nil {
			return "", false
		}
		if id, ok := h.behind(dst, h.bridgesOf(from)); ok {
			return id, true
		}
		if len(h.ns[from].routes) == 0 {
			return "", false
		}
	}
	if h.table == nil {
		return "", false
	}
	to, ok := h.table.fw.Publish[desired.Claim{IP: dst, Proto: "tcp", Port: port}]
	if !ok {
		to, ok = h.table.fw.PublishAny[desired.PortKey{V6: dst.Is6(), Proto: "tcp", Port: port}]
	}
	if !ok {
		return "", false
	}
	return h.behind(to.IP, nil)
}

func (h *Host) bridgesOf(container string) map[string]bool {
	on := map[string]bool{}
	for _, k := range h.links {
		if k.peer != "" && k.peerNS == container && k.up && k.master != "" {
			on[k.master] = true
		}
	}
	return on
}

// behind finds the container that has an address on a bridge that is up;
// bridges nil: any.
func (h *Host) behind(a netip.Addr, bridges map[string]bool) (string, bool) {
	for _, k := range h.links {
		b := h.links[k.master]
		if k.peer == "" || b == nil || !b.up || !k.up || bridges != nil && !bridges[k.master] {
			continue
		}
		n := h.ns[k.peerNS]
		if n == nil || n.links[k.peer] == nil {
			continue
		}
		for _, p := range n.links[k.peer].prefixes() {
			if p.Addr() == a {
				return k.peerNS, true
			}
		}
	}
	return "", false
}
