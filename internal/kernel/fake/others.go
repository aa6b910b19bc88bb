package fake

import (
	"maps"

	"github.com/jackstay/jackstay/internal/desired"
)

// TakePort has another program bind a port.
func (h *Host) TakePort(c desired.Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.foreign[c] = struct{}{}
}

// FreePort has it close the port again.
func (h *Host) FreePort(c desired.Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.foreign, c)
}

// AddForeignLink has another program make a link; a bridge or something else.
func (h *Host) AddForeignLink(name string, bridge bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[name] = &link{name: name, bridge: bridge, mtu: 1500, addrs: map[string]bool{}}
	signal(h.linksWatch)
}

// DeleteLink has another program delete a link: ip link del.
func (h *Host) DeleteLink(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLink(name)
}

// SetAddress has another program replace a link's addresses.
func (h *Host) SetAddress(name string, addrs ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.links[name]
	clear(k.addrs)
	for _, a := range addrs {
		k.addrs[a] = true
	}
	signal(h.linksWatch)
}

// DropRates has another program take the limits off a host end: tc qdisc del.
func (h *Host) DropRates(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[name].limits = rates{altered: true}
	signal(h.linksWatch)
}

// Flush has another program flush the ruleset: nft flush ruleset.
func (h *Host) Flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table = nil
	signal(h.tableWatch)
}

// DropElement has another program delete a published port's element.
func (h *Host) DropElement(k desired.PortKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.table.fw.PublishAny, k)
	signal(h.tableWatch)
}

// BreakInside has something in a namespace delete its routes and sysctls,
// which nothing on the host notices.
func (h *Host) BreakInside(container string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.ns[container].routes)
	clear(h.ns[container].sysctls)
}

// DeleteNamespace has another program unmount a namespace.
func (h *Host) DeleteNamespace(container string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropNamespace(container)
	signal(h.linksWatch)
}

// Reboot ends everything but the file system.
func (h *Host) Reboot() {
	h.Restart()
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.links)
	clear(h.ns)
	h.table = nil
}

// File gives a file's content and inode; inode 0: it is not there.
func (h *Host) File(path string) (content string, inode int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.files[path]
	if f == nil {
		return "", 0
	}
	return f.Content, f.inode
}

// Claims gives the ports the daemon holds.
func (h *Host) Claims() map[desired.Claim]struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.held)
}

// NamespaceID tells one namespace of a container from the next; 0: there is none.
func (h *Host) NamespaceID(container string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.ns[container]; n != nil {
		return n.id
	}
	return 0
}
