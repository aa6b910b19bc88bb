package fake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Dump gives all there is of the network on the host, one thing a line,
// sorted, so that equal hosts give equal texts. Files are not in it: they
// belong to the container's directory and go with that.
func (h *Host) Dump() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	line := func(format string, args ...any) { out = append(out, strings.TrimSpace(fmt.Sprintf(format, args...))) }
	for _, k := range h.links {
		line("link %s", k)
	}
	for id, n := range h.ns {
		line("netns %s", id)
		for _, k := range n.links {
			line("netns %s link %s", id, k)
		}
		for key, r := range n.routes {
			line("netns %s route %s via %s dev %s", id, key, r.Via, r.Dev)
		}
		for _, r := range n.rules {
			line("netns %s rule %+v", id, r)
		}
		for _, words := range n.tc {
			line("netns %s tc %s", id, strings.Join(words, " "))
		}
		for key, value := range n.sysctls {
			line("netns %s sysctl %s=%s", id, key, value)
		}
		if n.redirect != "" {
			line("netns %s redirect %s", id, n.redirect)
		}
		for at, s := range n.listeners {
			if !s.closed() {
				line("netns %s socket %s served=%t", id, at, h.served[id] == s)
			}
		}
	}
	for id, s := range h.served {
		if n := h.ns[id]; n == nil || n.id != s.ns {
			line("resolver %s %s in a namespace that is gone", id, s.addr)
		}
	}
	for c := range h.held {
		line("claim %s", claimString(c))
	}
	if h.zones != nil {
		line("zones networks=%d views=%d", len(h.zones.Networks), len(h.zones.Views))
	}
	out = append(out, h.table.dump()...)
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

func (k *link) String() string {
	s := fmt.Sprintf("%s alias=%s mac=%s mtu=%d up=%t addrs=%v", k.name, k.alias, k.mac, k.mtu, k.up, k.prefixes())
	if k.limits != (rates{}) {
		s += fmt.Sprintf(" limits=%+v", k.limits)
	}
	if len(k.marked) > 0 {
		s += fmt.Sprintf(" marked=%v", slices.Sorted(maps.Keys(k.marked)))
	}
	if k.bridge {
		s += fmt.Sprintf(" bridge route_localnet=%t arp_ignore=%t", k.localnet, k.ownARP)
	}
	if k.peer != "" {
		s += fmt.Sprintf(" master=%s peer=%s/%s", k.master, k.peerNS, k.peer)
	}
	return s
}

func (t *table) dump() []string {
	if t == nil {
		return nil
	}
	out := []string{fmt.Sprintf("table intact=%t", t.intact)}
	for name := range t.fw.Bridges {
		out = append(out, "element bridges "+name)
	}
	for name := range t.fw.Internal {
		out = append(out, "element internal "+name)
	}
	for p := range t.fw.Masquerade {
		out = append(out, "element masquerade "+p.String())
	}
	for k := range t.fw.Hairpin {
		out = append(out, fmt.Sprintf("element hairpin %s . %s", k.Subnet, k.Bridge))
	}
	for k, v := range t.fw.Publish {
		out = append(out, fmt.Sprintf("element publish %s : %s:%d", claimString(k), v.IP, v.Port))
	}
	for k, v := range t.fw.PublishAny {
		out = append(out, fmt.Sprintf("element publish any v6=%t %d/%s : %s:%d", k.V6, k.Port, k.Proto, v.IP, v.Port))
	}
	for k, v := range t.fw.FIPIn {
		out = append(out, fmt.Sprintf("element fip_in %s : %s", k, v))
	}
	for k, v := range t.fw.FIPOut {
		out = append(out, fmt.Sprintf("element fip_out %s : %s", k, v))
	}
	for name := range t.fw.Tenants {
		out = append(out, "element tenants "+name)
	}
	for a := range t.fw.Gateways {
		out = append(out, "element gateways "+a.String())
	}
	for p := range t.fw.TenantNets {
		out = append(out, "element tenant_nets "+p.String())
	}
	for k := range t.fw.OwnGateways {
		out = append(out, fmt.Sprintf("element own_gateways %s . %s", k.Bridge, k.Addr))
	}
	return out
}
