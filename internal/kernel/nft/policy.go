package nft

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/nftables"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// The sets of who may reach whom, and the sets and the map of `table bridge
// jackstay`, which tell who sends from where.
const (
	setFlows4     = "flows4"
	setFlows6     = "flows6"
	setPairs4     = "pairs4"
	setPairs6     = "pairs6"
	setVeths      = "veths" // those of setPorts, in the other table
	setPorts      = "ports"
	mapBridgeMACs = "bridgemacs"
	setMACs       = "macs"
	setPortMACs   = "portmacs"
	setAddresses4 = "addresses4"
	setAddresses6 = "addresses6"
	setSources4   = "sources4"
	setSources6   = "sources6"
	// These two have the elements of the two before once more, as nft(8) can't
	// look up what a neighbour advertisement tells in a set of addresses.
	setTargets6     = "targets6"
	setAdvertisers6 = "advertisers6"
	setRouted       = "routed"
	setRoutedMACs   = "routedmacs"
	setRouted4      = "routed4"
	setRouted6      = "routed6"
)

// bridgeSets lists those of the bridge family's table.
func bridgeSets() []string {
	return []string{
		setPorts, mapBridgeMACs, setMACs, setPortMACs, setAddresses4, setAddresses6, setSources4, setSources6,
		setTargets6, setAdvertisers6, setRouted, setRoutedMACs, setRouted4, setRouted6,
	}
}

// tableOf gives the table a set is in.
func tableOf(set string) *nftables.Table {
	family := nftables.TableFamilyINet
	if slices.Contains(bridgeSets(), set) {
		family = nftables.TableFamilyBridge
	}
	return &nftables.Table{Name: tableName, Family: family}
}

// familyName is how nft(8) calls the family of a set's table.
func familyName(set string) string {
	if tableOf(set).Family == nftables.TableFamilyBridge {
		return "bridge"
	}
	return "inet"
}

func layPolicy(l layout, fw desired.Firewall) error {
	for f := range fw.Flows {
		num, ok := protoNumber(f.Proto)
		if !ok || !sameFamily(f.From, f.To) || f.Last < f.First {
			return errs.New(errs.Invalid, "flow %v can't be told to the firewall", f)
		}
		key := slices.Concat(f.From.AsSlice(), f.To.AsSlice())
		l.add(pick(f.From, setFlows4, setFlows6), element{
			key: append(slices.Clone(key), portKey(num, f.First)...), end: append(slices.Clone(key), portKey(num, f.Last)...),
			text: fmt.Sprintf("%s . %s . %s . %s", f.From, f.To, f.Proto, portRange(f.First, f.Last)),
		})
	}
	for p := range fw.Pairs {
		if !sameFamily(p.From, p.To) {
			return errs.New(errs.Invalid, "pair %v can't be told to the firewall", p)
		}
		l.add(pick(p.From, setPairs4, setPairs6), element{key: append(p.From.AsSlice(), p.To.AsSlice()...), text: fmt.Sprintf("%s . %s", p.From, p.To)})
	}
	return layBridgePorts(l, fw)
}

func sameFamily(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && a.Is4() == b.Is4()
}

func portRange(first, last uint16) string {
	if first == last {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func layBridgePorts(l layout, fw desired.Firewall) error {
	for port, p := range fw.Ports {
		if err := checkIfname(port); err != nil {
			return err
		}
		own, err := ether(p.MAC)
		if err != nil {
			return err
		}
		bridge, err := ether(p.Bridge)
		if err != nil {
			return err
		}
		quoted := strconv.Quote(port)
		l.add(setPorts, element{key: ifname(port), text: quoted})
		l.add(setVeths, element{key: ifname(port), text: quoted})
		l.add(mapBridgeMACs, element{key: ifname(port), val: bridge[:6], text: quoted + " : " + p.Bridge})
		l.add(setPortMACs, element{key: append(ifname(port), own...), text: quoted + " . " + p.MAC})
		if p.Routed {
			l.add(setRouted, element{key: ifname(port), text: quoted})
		}
	}
	for mac, routed := range fw.MACs {
		key, err := ether(mac)
		if err != nil {
			return err
		}
		key = key[:6]
		l.add(setMACs, element{key: key, text: mac})
		if routed {
			l.add(setRoutedMACs, element{key: key, text: mac})
		}
	}
	for a := range fw.Addresses {
		if !a.IsValid() || a.Zone() != "" {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall of the bridges", a)
		}
		l.add(pick(a, setAddresses4, setAddresses6), element{key: a.AsSlice(), text: a.String()})
		if a.Is6() {
			l.add(setTargets6, element{key: a.AsSlice(), text: number(a)})
		}
	}
	for s := range fw.Sources {
		mac, err := ether(s.MAC)
		if err != nil {
			return err
		}
		if err := checkIfname(s.Port); err != nil {
			return err
		}
		if !s.Addr.IsValid() || s.Addr.Zone() != "" {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall of the bridges", s.Addr)
		}
		key := slices.Concat(ifname(s.Port), mac, s.Addr.AsSlice())
		l.add(pick(s.Addr, setSources4, setSources6), element{key: key, text: fmt.Sprintf("%q . %s . %s", s.Port, s.MAC, s.Addr)})
		if s.Addr.Is6() {
			l.add(setAdvertisers6, element{key: key, text: fmt.Sprintf("%q . %s . %s", s.Port, s.MAC, number(s.Addr))})
		}
	}
	return nil
}

// number is an address as nft reads a piece of a packet whose meaning it doesn't know.
func number(a netip.Addr) string { return fmt.Sprintf("0x%x", a.AsSlice()) }

// etherSize is a hardware address in a concatenation, padded to registers of 4 bytes.
const etherSize = 8

func ether(s string) ([]byte, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return nil, errs.New(errs.Invalid, "%q can't be told to the firewall: it is no MAC address", s)
	}
	return append(hw, 0, 0), nil
}

func unether(b []byte) string { return net.HardwareAddr(b[:6]).String() }

// unlayPolicy reads back what layPolicy wrote. A port counts only where all its
// elements are.
func unlayPolicy(l layout, fw *desired.Firewall) {
	fw.Flows, fw.Pairs = map[desired.Flow]struct{}{}, map[desired.Pair]struct{}{}
	fw.Ports, fw.MACs = map[string]desired.BridgePort{}, map[string]bool{}
	fw.Addresses, fw.Sources = map[netip.Addr]struct{}{}, map[desired.Source]struct{}{}
	for _, e := range slices.Concat(l[setFlows4], l[setFlows6]) {
		n := (len(e.key) - portKeySize) / 2
		proto, first := unportKey(e.key[2*n:])
		_, end := unportKey(e.end[2*n:])
		fw.Flows[desired.Flow{From: addr(e.key[:n]), To: addr(e.key[n : 2*n]), Proto: proto, First: first, Last: end}] = struct{}{}
	}
	for _, e := range slices.Concat(l[setPairs4], l[setPairs6]) {
		n := len(e.key) / 2
		fw.Pairs[desired.Pair{From: addr(e.key[:n]), To: addr(e.key[n:])}] = struct{}{}
	}
	unlayBridgePorts(l, fw)
}

func unlayBridgePorts(l layout, fw *desired.Firewall) {
	there, routed := map[string]bool{}, map[string]bool{}
	veths := map[string]bool{}
	for _, e := range l[setVeths] {
		veths[name(e.key)] = true
	}
	for _, e := range l[setPorts] {
		there[name(e.key)] = veths[name(e.key)]
	}
	for _, e := range l[setRouted] {
		routed[name(e.key)] = true
	}
	bridge := map[string]string{}
	for _, e := range l[mapBridgeMACs] {
		bridge[name(e.key)] = unether(e.val)
	}
	for _, e := range l[setPortMACs] {
		port := name(e.key[:ifnameSize])
		if there[port] && bridge[port] != "" {
			fw.Ports[port] = desired.BridgePort{MAC: unether(e.key[ifnameSize:]), Bridge: bridge[port], Routed: routed[port]}
		}
	}
	for _, e := range l[setMACs] {
		fw.MACs[unether(e.key)] = false
	}
	for _, e := range l[setRoutedMACs] {
		if _, ok := fw.MACs[unether(e.key)]; ok {
			fw.MACs[unether(e.key)] = true
		}
	}
	// The sets of what advertisements tell say nothing else; told misses what they lack.
	for _, e := range slices.Concat(l[setAddresses4], l[setAddresses6]) {
		fw.Addresses[addr(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[setSources4], l[setSources6]) {
		fw.Sources[desired.Source{
			Port: name(e.key[:ifnameSize]), MAC: unether(e.key[ifnameSize:]), Addr: addr(e.key[ifnameSize+etherSize:]),
		}] = struct{}{}
	}
}
