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
	setPairs4     = "pairs4"
	setPorts      = "ports"
	mapBridgeMACs = "bridgemacs"
	setMACs       = "macs"
	setPortMACs   = "portmacs"
	setAddresses4 = "addresses4"
	setSources4   = "sources4"
	setRouted     = "routed"
	setRoutedMACs = "routedmacs"
	setRouted4    = "routed4"
)

// bridgeSets lists those of the bridge family's table.
func bridgeSets() []string {
	return []string{setPorts, mapBridgeMACs, setMACs, setPortMACs, setAddresses4, setSources4, setRouted, setRoutedMACs, setRouted4}
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
		if !ok || !f.From.Is4() || !f.To.Is4() || f.Last < f.First {
			return errs.New(errs.Invalid, "flow %v can't be told to the firewall", f)
		}
		key := slices.Concat(f.From.AsSlice(), f.To.AsSlice())
		l.add(setFlows4, element{
			key: append(slices.Clone(key), portKey(num, f.First)...), end: append(slices.Clone(key), portKey(num, f.Last)...),
			text: fmt.Sprintf("%s . %s . %s . %s", f.From, f.To, f.Proto, portRange(f.First, f.Last)),
		})
	}
	for p := range fw.Pairs {
		if !p.From.Is4() || !p.To.Is4() {
			return errs.New(errs.Invalid, "pair %v can't be told to the firewall", p)
		}
		l.add(setPairs4, element{key: append(p.From.AsSlice(), p.To.AsSlice()...), text: fmt.Sprintf("%s . %s", p.From, p.To)})
	}
	return layBridgePorts(l, fw)
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
		if !a.Is4() {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall of the bridges", a)
		}
		l.add(setAddresses4, element{key: a.AsSlice(), text: a.String()})
	}
	for s := range fw.Sources {
		mac, err := ether(s.MAC)
		if err != nil {
			return err
		}
		if err := checkIfname(s.Port); err != nil {
			return err
		}
		if !s.Addr.Is4() {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall of the bridges", s.Addr)
		}
		l.add(setSources4, element{
			key:  slices.Concat(ifname(s.Port), mac, s.Addr.AsSlice()),
			text: fmt.Sprintf("%q . %s . %s", s.Port, s.MAC, s.Addr),
		})
	}
	return nil
}

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
	for _, e := range l[setFlows4] {
		proto, first := unportKey(e.key[8:])
		_, end := unportKey(e.end[8:])
		fw.Flows[desired.Flow{From: addr(e.key[:4]), To: addr(e.key[4:8]), Proto: proto, First: first, Last: end}] = struct{}{}
	}
	for _, e := range l[setPairs4] {
		fw.Pairs[desired.Pair{From: addr(e.key[:4]), To: addr(e.key[4:])}] = struct{}{}
	}
	unlayBridgePorts(l, fw)
}

func unlayBridgePorts(l layout, fw *desired.Firewall) {
	there, routed := map[string]bool{}, map[string]bool{}
	for _, e := range l[setPorts] {
		there[name(e.key)] = true
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
	for _, e := range l[setAddresses4] {
		fw.Addresses[addr(e.key)] = struct{}{}
	}
	for _, e := range l[setSources4] {
		fw.Sources[desired.Source{
			Port: name(e.key[:ifnameSize]), MAC: unether(e.key[ifnameSize:]), Addr: addr(e.key[ifnameSize+etherSize:]),
		}] = struct{}{}
	}
}
