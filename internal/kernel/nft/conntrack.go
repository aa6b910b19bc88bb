package nft

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// A flow keeps the translation of its first packet for as long as it lives, so
// a port that leads elsewhere now needs its old flows ended: a UDP client that
// keeps sending would never notice (moby#8795). Likewise a flow that began
// before its UDP port was published never gets translated.

// Likewise a floating IP: what goes through it in either direction ends when it
// is detached or moved.

// And what a link opened between two containers ends with it: the answers of a
// flow pass for as long as it is tracked, and a UDP server may go on answering.

// published is a published port as a flow shows it: by what it was sent to.
type published struct {
	proto byte
	port  uint16
	v6    bool
}

// ending is the flows to end.
type ending struct {
	// dropped: these ports led to these targets and do no more.
	dropped map[published][]desired.Target
	// fresh: UDP ports whose untranslated flows are stale, with the host
	// addresses they are published on; an invalid one means all.
	fresh map[published][]netip.Addr
	// in: these floating IPs led to these addresses and do no more; out: what
	// these addresses sent left with these floating IPs and does no more. new
	// ones had flows that led nowhere.
	in, out map[netip.Addr]netip.Addr
	new     map[netip.Addr]struct{}
	// closed: what these pairs may no longer open, and what is open beside.
	closed map[desired.Pair]closing
	// closedPorts: these ports of floating IPs answer no more; only: these floating
	// IPs answer at the open ports alone.
	closedPorts, openPorts map[desired.Claim]struct{}
	only                   map[netip.Addr]struct{}
	// finishing: TCP connections through these floating IPs finish at these addresses.
	finishing map[netip.Addr]netip.Addr
	stray     stray
}

// closing is what one container could open on another, and what it still can.
type closing struct{ gone, stays []desired.Flow }

// changes gives what ends when old is replaced: of old what current does not
// have the same, and of fresh the UDP ports. A TCP port that leads elsewhere at
// once lets its connections finish where they are: the other end of each is
// bound to them, and closes them if it goes; only new ones meet the new target.
func changes(old, current, fresh desired.Firewall) ending {
	e := ending{
		dropped: map[published][]desired.Target{}, fresh: map[published][]netip.Addr{},
		in: lost(old.FIPIn, current.FIPIn), out: lost(old.FIPOut, current.FIPOut), new: map[netip.Addr]struct{}{},
		closed:      closed(old, current),
		closedPorts: gone(old.FIPPorts, current.FIPPorts), openPorts: current.FIPPorts, only: gone(current.FIPOnly, old.FIPOnly),
		finishing: current.Finishing,
	}
	for f := range fresh.FIPIn {
		e.new[f] = struct{}{}
	}
	drop := func(proto string, port uint16, t desired.Target) {
		p := keyOf(proto, port, t.IP.Is6())
		e.dropped[p] = append(e.dropped[p], t)
	}
	for c, t := range old.Publish {
		if now, there := current.Publish[c]; now != t && !(there && c.Proto == "tcp") {
			drop(c.Proto, c.Port, t)
		}
	}
	for k, t := range old.PublishAny {
		if now, there := current.PublishAny[k]; now != t && !(there && k.Proto == "tcp") {
			drop(k.Proto, k.Port, t)
		}
	}
	for c := range fresh.Publish {
		if c.Proto == "udp" {
			p := keyOf(c.Proto, c.Port, c.IP.Is6())
			e.fresh[p] = append(e.fresh[p], c.IP)
		}
	}
	for k := range fresh.PublishAny {
		if k.Proto == "udp" {
			p := keyOf(k.Proto, k.Port, k.V6)
			e.fresh[p] = append(e.fresh[p], netip.Addr{})
		}
	}
	return e
}

// closed gives who may open less in current than in old.
func closed(old, current desired.Firewall) map[desired.Pair]closing {
	out := map[desired.Pair]closing{}
	for _, f := range judged(old) {
		p := desired.Pair{From: f.From, To: f.To}
		c := out[p]
		c.gone = append(c.gone, f)
		out[p] = c
	}
	for _, f := range judged(current) {
		p := desired.Pair{From: f.From, To: f.To}
		if c, less := out[p]; less {
			c.stays = append(c.stays, f)
			out[p] = c
		}
	}
	maps.DeleteFunc(out, func(_ desired.Pair, c closing) bool {
		return !slices.ContainsFunc(c.gone, func(f desired.Flow) bool { return !slices.Contains(c.stays, f) })
	})
	return out
}

// judged lists flows and pairs; the latter as flows of no protocol in particular.
func judged(fw desired.Firewall) []desired.Flow {
	out := slices.Collect(maps.Keys(fw.Flows))
	for p := range fw.Pairs {
		out = append(out, desired.Flow{From: p.From, To: p.To})
	}
	return out
}

// lost gives of old what current has not the same.
func lost(old, current map[netip.Addr]netip.Addr) map[netip.Addr]netip.Addr {
	out := map[netip.Addr]netip.Addr{}
	for k, v := range old {
		if current[k] != v {
			out[k] = v
		}
	}
	return out
}

// gone gives of a set what another has not.
func gone[K comparable](of, than map[K]struct{}) map[K]struct{} {
	out := map[K]struct{}{}
	for k := range of {
		if _, ok := than[k]; !ok {
			out[k] = struct{}{}
		}
	}
	return out
}

func keyOf(proto string, port uint16, v6 bool) published {
	n, _ := protoNumber(proto)
	return published{n, port, v6}
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter: whether a flow
// is one to end. A flow's reply comes from where its packets were led to.
func (e ending) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to := addrOf(flow.Forward.DstIP)
	if e.floating(flow, to) || e.shut(flow, to) || e.stray.has(flow) {
		return true
	}
	p := published{flow.Forward.Protocol, flow.Forward.DstPort, to.Is6()}
	from := desired.Target{IP: addrOf(flow.Reverse.SrcIP), Port: flow.Reverse.SrcPort}
	for _, t := range e.dropped[p] {
		if t == from {
			return true
		}
	}
	untranslated := from.IP == to && from.Port == p.port
	for _, a := range e.fresh[p] {
		if untranslated && (!a.IsValid() || a == to) {
			return true
		}
	}
	return false
}

// floating tells whether a flow, sent to this address, went through a floating
// IP that leads elsewhere now.
func (e ending) floating(flow *netlink.ConntrackFlow, to netip.Addr) bool {
	answers := addrOf(flow.Reverse.SrcIP)
	if was, ok := e.in[to]; ok && was == answers {
		return !e.finishes(flow, to, answers)
	}
	if e.shutPort(flow, to) {
		return true
	}
	if _, ok := e.new[to]; ok && answers == to {
		return true
	}
	from := addrOf(flow.Forward.SrcIP)
	was, ok := e.out[from]
	return ok && was == addrOf(flow.Reverse.DstIP) && !e.finishes(flow, was, from)
}

// finishes tells whether a flow between a floating IP and a container's address
// may go on after a swap.
func (e ending) finishes(flow *netlink.ConntrackFlow, fip, inside netip.Addr) bool {
	at, ok := e.finishing[fip]
	return ok && at == inside && flow.Forward.Protocol == unix.IPPROTO_TCP
}

// shutPort tells whether a flow goes through a port of a floating IP that is closed now.
func (e ending) shutPort(flow *netlink.ConntrackFlow, to netip.Addr) bool {
	port := desired.Claim{IP: to, Proto: protoName(flow.Forward.Protocol), Port: flow.Forward.DstPort}
	if _, ok := e.closedPorts[port]; ok {
		return true
	}
	_, only := e.only[to]
	_, open := e.openPorts[port]
	return only && !open
}

// shut tells whether a flow, sent to this address and not translated, is one
// that its sender may no longer open.
func (e ending) shut(flow *netlink.ConntrackFlow, to netip.Addr) bool {
	c, ok := e.closed[desired.Pair{From: addrOf(flow.Forward.SrcIP), To: to}]
	if !ok || addrOf(flow.Reverse.SrcIP) != to {
		return false
	}
	is := func(f desired.Flow) bool { return covers(f, flow) }
	return slices.ContainsFunc(c.gone, is) && !slices.ContainsFunc(c.stays, is)
}

// covers tells whether a tracked flow, of the same two addresses, is one that f
// lets be opened.
func covers(f desired.Flow, flow *netlink.ConntrackFlow) bool {
	num, _ := protoNumber(f.Proto)
	return f.Proto == "" || num == flow.Forward.Protocol && f.First <= flow.Forward.DstPort && flow.Forward.DstPort <= f.Last
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func (e ending) families() []netlink.InetFamily {
	v4, v6 := e.stray.families()
	for p := range e.dropped {
		v4, v6 = v4 || !p.v6, v6 || p.v6
	}
	for p := range e.fresh {
		v4, v6 = v4 || !p.v6, v6 || p.v6
	}
	for _, m := range []map[netip.Addr]netip.Addr{e.in, e.out} {
		for a := range m {
			v4, v6 = v4 || a.Is4(), v6 || a.Is6()
		}
	}
	for a := range e.new {
		v4, v6 = v4 || a.Is4(), v6 || a.Is6()
	}
	for p := range e.closed {
		v4, v6 = v4 || p.To.Is4(), v6 || p.To.Is6()
	}
	for a := range e.only {
		v4, v6 = v4 || a.Is4(), v6 || a.Is6()
	}
	for c := range e.closedPorts {
		v4, v6 = v4 || c.IP.Is4(), v6 || c.IP.Is6()
	}
	var out []netlink.InetFamily
	if v4 {
		out = append(out, unix.AF_INET)
	}
	if v6 {
		out = append(out, unix.AF_INET6)
	}
	return out
}

// flows ends flows, one job after the other.
type flows struct {
	log     *slog.Logger
	exactly filtered // used by the holder of Firewall.mu
	pending sync.WaitGroup

	mu      sync.Mutex
	closing map[desired.Pair]int // of jobs under way
}

// wait returns when no job is under way.
func (f *flows) wait() { f.pending.Wait() }

// waitFor returns when no job could end flows of what is added: a port must not
// be published again, nor a way opened, before its old flows are ended.
func (f *flows) waitFor(add desired.Firewall) {
	under := len(add.Publish)+len(add.PublishAny) > 0
	f.mu.Lock()
	if len(f.closing) > 0 {
		under = under || slices.ContainsFunc(judged(add), func(o desired.Flow) bool { return f.closing[desired.Pair{From: o.From, To: o.To}] > 0 })
	}
	f.mu.Unlock()
	if under {
		f.wait()
	}
}

// close counts the jobs that end what pairs could open.
func (f *flows) close(e ending, jobs int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing == nil {
		f.closing = map[desired.Pair]int{}
	}
	for p := range e.closed {
		if f.closing[p] += jobs; f.closing[p] == 0 {
			delete(f.closing, p)
		}
	}
}

// end ends flows. Reading the table takes about a millisecond per thousand
// flows of the host, so a stop does not wait for it; publishing a UDP port
// does, or its first packets could be lost, and so does a floating IP.
func (f *flows) end(e ending) error {
	families := e.families()
	if len(families) == 0 {
		return nil
	}
	if f.exactly.end(e) {
		return nil
	}
	if len(e.fresh)+len(e.in)+len(e.out)+len(e.new)+len(e.closedPorts)+len(e.only) > 0 || e.stray.any() {
		return endFlows(e, families)
	}
	f.close(e, 1)
	f.pending.Go(func() {
		defer f.close(e, -1)
		if err := endFlows(e, families); err != nil {
			f.log.Warn("flows of what is no longer published or linked may go on", "error", err)
		}
	})
	return nil
}

// flowTries bounds the retries of a dump that changes interrupted.
const flowTries = 3

func endFlows(e ending, families []netlink.InetFamily) error {
	for _, family := range families {
		var err error
		for range flowTries {
			if _, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, e); !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		// An interrupted dump misses at most flows that began during it, and
		// those met the new rules. Without connection tracking there are none.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("end tracked flows: %w", err)
		}
	}
	return nil
}

// flowSets are the sets and maps of which flows depend.
func flowSets() []string {
	return []string{mapPublish4, mapPublish6, mapAny4, mapAny6, mapFIPIn4, mapFIPIn6, mapFIPOut4, mapFIPOut6,
		setFlows4, setFlows6, setPairs4, setPairs6, setFIPOnly4, setFIPOnly6, setFIPPorts4, setFIPPorts6}
}
