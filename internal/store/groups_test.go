package store

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// sgOf is a group whose rules have groups as their sources.
func sgOf(id, name string, sources ...string) *model.SecurityGroup {
	g := &model.SecurityGroup{ID: id, Name: name, Rules: []model.GroupRule{{Proto: "icmp", Source: netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, s := range sources {
		g.Rules = append(g.Rules, model.GroupRule{Proto: "tcp", Group: s})
	}
	return g
}

// guarded is full with two groups: container a is in g1, g2 takes g1 and itself.
func guarded(tx *Tx) error {
	return errors.Join(full(tx), tx.PutSecurityGroup(sgOf("g1", "web")), tx.PutSecurityGroup(sgOf("g2", "db", "g1", "g2")), inGroups(tx, "a", "g1"))
}

func inGroups(tx *Tx, id string, groups ...string) error {
	c := *tx.Snapshot().Containers[id]
	c.SecurityGroups = groups
	return tx.PutContainer(&c)
}

func TestGroupRefusals(t *testing.T) {
	s := fresh(t)
	must(t, s, guarded)
	for _, tc := range []struct {
		want string
		do   func(tx *Tx) error
	}{
		{"called web already", func(tx *Tx) error { return tx.PutSecurityGroup(sgOf("g3", "web")) }},
		{"no ID or no name", func(tx *Tx) error { return tx.PutSecurityGroup(sgOf("g3", "")) }},
		{"names group g9, which does not exist", func(tx *Tx) error { return tx.PutSecurityGroup(sgOf("g3", "x", "g9")) }},
		{"either addresses or a group", func(tx *Tx) error {
			return tx.PutSecurityGroup(&model.SecurityGroup{ID: "g3", Name: "x", Rules: []model.GroupRule{{Proto: "tcp"}}})
		}},
		{"in security group g9, which does not exist", func(tx *Tx) error { return inGroups(tx, "b", "g9") }},
		{"in security group g1 twice", func(tx *Tx) error { return inGroups(tx, "b", "g1", "g1") }},
		{"in security group g1, which does not exist", func(tx *Tx) error { tx.DeleteSecurityGroup("g1"); return nil }},
		{"names group g1, which does not exist", func(tx *Tx) error { tx.DeleteSecurityGroup("g1"); return inGroups(tx, "a") }},
	} {
		before := s.Snapshot()
		if _, err := s.Update(tc.do); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
		if s.Snapshot() != before {
			t.Errorf("%s: something was changed", tc.want)
		}
	}
	if _, err := s.Update(func(tx *Tx) error { return tx.PutSecurityGroup(sgOf("g3", "web")) }); !errs.Is(err, errs.Conflict) {
		t.Errorf("a taken name: %v", err)
	}
}

// Renamed, its container deleted, it deleted: names lead where they should, in
// this file and after it was opened again.
func TestGroupIndexes(t *testing.T) {
	path := t.TempDir() + "/db"
	s := open(t, path)
	must(t, s, guarded)
	for _, step := range []struct {
		do    func(tx *Tx) error
		names string // what "web" and "front" lead to
	}{
		{func(tx *Tx) error { return nil }, "g1 "},
		{func(tx *Tx) error { return tx.PutSecurityGroup(sgOf("g1", "front")) }, " g1"},
		{func(tx *Tx) error { tx.DeleteContainer("a"); return tx.PutSecurityGroup(sgOf("g2", "web", "g2")) }, "g2 g1"},
		{func(tx *Tx) error { tx.DeleteSecurityGroup("g1"); tx.DeleteSecurityGroup("g1"); return nil }, "g2 "},
		{func(tx *Tx) error { tx.DeleteSecurityGroup("g2"); return nil }, " "},
	} {
		snap := must(t, s, step.do)
		for range 2 {
			if err := Check(snap); err != nil {
				t.Fatal(err)
			}
			if got := snap.GroupNames["web"] + " " + snap.GroupNames["front"]; got != step.names {
				t.Errorf("names lead to %q, want %q", got, step.names)
			}
			_ = s.Close()
			s = open(t, path)
			snap = s.Snapshot()
		}
	}
}
