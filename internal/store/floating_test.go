package store

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func fip(addr, name, container string) *model.FloatingIP {
	return &model.FloatingIP{Address: netip.MustParseAddr(addr), Name: name, ContainerID: container, Pool: netip.MustParsePrefix("203.0.113.16/28")}
}

func fipPool(prefix string) *model.FIPPool {
	return &model.FIPPool{Prefix: netip.MustParsePrefix(prefix), Device: "eth0"}
}

// floated is full with a pool and two floating IPs, one of them attached to a.
func floated(tx *Tx) error {
	return errors.Join(full(tx), tx.PutFIPPool(fipPool("203.0.113.16/28")),
		tx.PutFIP(fip("203.0.113.17", "front", "a")), tx.PutFIP(fip("203.0.113.18", "", "")))
}

func TestFIPRefusals(t *testing.T) {
	s := fresh(t)
	must(t, s, floated)
	for _, tc := range []struct {
		want string
		do   func(tx *Tx) error
	}{
		{"already in use by 203.0.113.17", func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.18", "front", "")) }},
		{"container a has the floating IP 203.0.113.17 already", func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.18", "", "a")) }},
		{"is not of pool", func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.40", "", "")) }},
		{"attached to container z, which does not exist", func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.18", "", "z")) }},
		{"of pool 203.0.113.16/28, which does not exist", func(tx *Tx) error { tx.DeleteFIPPool("203.0.113.16/28"); return nil }},
		{"overlaps with pool 203.0.113.16/28", func(tx *Tx) error { return tx.PutFIPPool(fipPool("203.0.113.0/24")) }},
		{"no prefix or no device", func(tx *Tx) error { return tx.PutFIPPool(&model.FIPPool{}) }},
	} {
		before := s.Snapshot()
		if _, err := s.Update(tc.do); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
		if s.Snapshot() != before {
			t.Errorf("%s: something was changed", tc.want)
		}
	}
	if _, err := s.Update(func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.18", "", "a")) }); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second one for a container: %v", err)
	}
}

// Moved, renamed, its container deleted: names and containers lead where they
// should, in this file and after it was opened again.
func TestFIPIndexes(t *testing.T) {
	path := t.TempDir() + "/db"
	s := open(t, path)
	must(t, s, floated)
	for _, step := range []struct {
		do        func(tx *Tx) error
		of, names string // what container b and the name "front" lead to
	}{
		{func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.17", "front", "b")) }, "203.0.113.17", "203.0.113.17"},
		{func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.17", "back", "b")) }, "203.0.113.17", ""},
		{func(tx *Tx) error { tx.DeleteContainer("b"); return nil }, "", ""},
		{func(tx *Tx) error { return tx.PutFIP(fip("203.0.113.18", "front", "")) }, "", "203.0.113.18"},
		{func(tx *Tx) error { tx.DeleteFIP("203.0.113.18"); tx.DeleteFIP("203.0.113.18"); return nil }, "", ""},
		{func(tx *Tx) error { tx.DeleteFIP("203.0.113.17"); tx.DeleteFIPPool("203.0.113.16/28"); return nil }, "", ""},
	} {
		snap := must(t, s, step.do)
		for range 2 {
			if err := Check(snap); err != nil {
				t.Fatal(err)
			}
			if snap.FIPOf["b"] != step.of || snap.FIPNames["front"] != step.names || snap.FIPOf["a"] != "" {
				t.Errorf("by container %v, by name %v; want b=%q front=%q", snap.FIPOf, snap.FIPNames, step.of, step.names)
			}
			_ = s.Close()
			s = open(t, path)
			snap = s.Snapshot()
		}
	}
}
