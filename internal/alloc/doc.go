// Package alloc chooses what has to be picked once: addresses, MACs, subnets,
// host ports, names and IDs. Its functions read the sets they are given and
// remember nothing; errors carry Docker's words.
//
//	taken := alloc.Addresses(snap.ByNetwork[n.ID])
//	p, err := alloc.Address(n, taken)              // the lowest free one
//	p, err := alloc.CheckAddress(n, addr, taken)   // --ip
//	mac := alloc.MAC(p.Addr());  mac, err := alloc.ParseMAC("02:42:…")
//	subnets, err := alloc.ParseSubnets(request);   err = alloc.CheckOverlap(subnets, snap.Networks)
//	subnet, err := alloc.Subnet(alloc.DefaultPools(), prefixes)
//	ports := alloc.NewPorts(snap, c.ID);           ms, err := ports.Pick(binding, []netip.Addr{n.HostIP}, c.Remembered)
//	name := alloc.Name(taken);                     id := alloc.ID()
package alloc
