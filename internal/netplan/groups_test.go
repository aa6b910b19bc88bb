package netplan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// guardedWorld: web and api on dev in group web; db, on dev and back, in group
// db, which takes web on 5432 and 10.9.0.0/16 on anything; plain in none.
func guardedWorld() world {
	w := newWorld()
	w.network("dev", "dev", "10.0.0.0/24")
	w.network("back", "back", "10.1.0.0/24")
	w.SecurityGroups = map[string]*model.SecurityGroup{
		"gw": {ID: "gw", Name: "web"},
		"gd": {ID: "gd", Name: "db", Rules: []model.GroupRule{
			{Proto: "tcp", First: 5432, Last: 5432, Group: "gw"}, {Proto: "any", Source: netip.MustParsePrefix("10.9.0.0/16")},
		}},
	}
	for i, line := range []string{"web gw", "api gw", "db gd", "plain"} {
		f := strings.Fields(line)
		c := w.container(f[0], f[0])
		c.SecurityGroups = f[1:]
		w.join(c, "dev", fmt.Sprintf("10.0.0.%d", i+2))
	}
	w.join(w.Containers["db"], "back", "10.1.0.2")
	return w
}

func TestGroups(t *testing.T) {
	w := guardedWorld()
	fw := Plan(w.snapshot(), facts()).Firewall
	if got := sortedAddrs(fw.Guarded); got != "10.0.0.2 10.0.0.3 10.0.0.4 10.1.0.2" {
		t.Errorf("guarded: %s", got)
	}
	if got := sortedAddrs(fw.Members); got != "10.0.0.2 10.0.0.3" {
		t.Errorf("members: %s", got)
	}
	mark := fw.Members[netip.MustParseAddr("10.0.0.2")]
	if mark == 0 || mark != fw.Members[netip.MustParseAddr("10.0.0.3")] {
		t.Errorf("marks of one group: %v", fw.Members)
	}
	admit, byGroup := map[desired.Admission]struct{}{}, map[desired.MemberAdmission]struct{}{}
	for _, to := range []string{"10.0.0.4", "10.1.0.2"} {
		a := netip.MustParseAddr(to)
		admit[desired.Admission{From: netip.MustParseAddr("10.9.0.0"), FromLast: netip.MustParseAddr("10.9.255.255"), To: a, Span: desired.Span{LastProto: 255, Last: 65535}}] = struct{}{}
		byGroup[desired.MemberAdmission{Mark: mark, To: a, Span: desired.Span{FirstProto: 6, LastProto: 6, First: 5432, Last: 5432}}] = struct{}{}
	}
	if !maps.Equal(fw.Admit, admit) || !maps.Equal(fw.AdmitMembers, byGroup) {
		t.Errorf("let in by address %v, by group %v", fw.Admit, fw.AdmitMembers)
	}
	for host, port := range fw.Ports {
		if guarded := !strings.Contains(host, shortID("ep-plain-dev")); port.Routed != guarded {
			t.Errorf("port %s: %+v", host, port)
		}
	}
	// Who stops is no source any more, and keeps nobody out.
	w.Containers["web"].Active, w.Containers["api"].Active = false, false
	fw = Plan(w.snapshot(), facts()).Firewall
	if len(fw.Members) != 0 || len(fw.AdmitMembers) != 0 || sortedAddrs(fw.Guarded) != "10.0.0.4 10.1.0.2" {
		t.Errorf("with web and api stopped: %v %v %v", fw.Members, fw.AdmitMembers, fw.Guarded)
	}
	// Without groups there is nothing.
	w.Containers["db"].SecurityGroups = nil
	fw = Plan(w.snapshot(), facts()).Firewall
	if len(fw.Guarded)+len(fw.Admit) != 0 {
		t.Errorf("without groups: %v %v", fw.Guarded, fw.Admit)
	}
}

func sortedAddrs[V any](m map[netip.Addr]V) string {
	var out []string
	for _, a := range slices.SortedFunc(maps.Keys(m), netip.Addr.Compare) {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}
