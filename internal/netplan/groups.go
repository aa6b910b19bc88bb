package netplan

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/groups"
	"github.com/jackstay/jackstay/internal/model"
)

// groups takes note of an active container that security groups guard.
func (p *plan) groups(c *model.Container) {
	if len(c.SecurityGroups) > 0 {
		p.grouped = append(p.grouped, c)
	}
}

// finishGroups plans who may open connections to the containers in security
// groups, which takes knowing all of them.
func (p *plan) finishGroups() {
	if len(p.grouped) == 0 {
		return
	}
	fw := &p.out.Firewall
	fw.Guarded, fw.Members = map[netip.Addr]struct{}{}, map[netip.Addr]uint32{}
	fw.Admit, fw.AdmitMembers = map[desired.Admission]struct{}{}, map[desired.MemberAdmission]struct{}{}
	all := groups.New(p.snap, func(c *model.Container) bool { return c.Active })
	for _, c := range p.grouped {
		mark, let := all.Mark(c), all.Let(c)
		for _, e := range p.snap.ByContainer[c.ID] {
			if !bridged(p.snap.Networks[e.NetworkID]) {
				continue
			}
			if e.IPv6.IsValid() {
				fw.Guarded[linkLocal(e.MAC)] = struct{}{} // nothing lets in to it
			}
			for _, v6 := range [...]bool{false, true} {
				a := inside(e, v6)
				if !a.IsValid() {
					continue
				}
				fw.Guarded[a] = struct{}{}
				if mark != 0 {
					fw.Members[a] = mark
				}
				admit(fw, a, let)
			}
		}
	}
}

// admit enters what a container's groups let in at one of its addresses.
func admit(fw *desired.Firewall, to netip.Addr, let groups.Let) {
	v6 := to.Is6()
	for _, s := range let.From {
		if s.First.Is6() == v6 {
			fw.Admit[desired.Admission{From: s.First, FromLast: s.Last, To: to, Span: desired.Span(s.Span.Of(v6))}] = struct{}{}
		}
	}
	for _, m := range let.Members {
		fw.AdmitMembers[desired.MemberAdmission{Mark: m.Mark, To: to, Span: desired.Span(m.Span.Of(v6))}] = struct{}{}
	}
}
