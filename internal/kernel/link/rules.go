//go:build linux

package link

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// ensureRules makes the routing rules of ours inside the wanted ones. They
// carry our protocol; the container's own stay.
func (v *visit) ensureRules(s *desired.Sandbox) error {
	if len(s.Rules) == 0 && !v.found && len(s.Interfaces)+len(s.Devices) > 0 {
		return nil // the namespace is new
	}
	have, err := listRules(v.in)
	if err != nil {
		return err
	}
	for n := range have {
		k := &have[n]
		if slices.ContainsFunc(s.Rules, func(r desired.Rule) bool { return sameRule(k, r) }) {
			continue
		}
		if err := retryDelete(func() error { return v.in.RuleDel(k) }); err != nil {
			return fmt.Errorf("delete %s: %w", k, err)
		}
	}
	for _, r := range s.Rules {
		if slices.ContainsFunc(have, func(k netlink.Rule) bool { return sameRule(&k, r) }) {
			continue
		}
		if err := retryAdd(func() error { return v.in.RuleAdd(ruleOf(r)) }); err != nil {
			return errs.New(errs.Invalid, "routing rule %d: %w", r.Priority, err)
		}
	}
	return nil
}

func (v *visit) rulesIntact(s *desired.Sandbox) (bool, error) {
	have, err := listRules(v.in)
	if err != nil || len(have) != len(s.Rules) {
		return false, err
	}
	for _, r := range s.Rules {
		if !slices.ContainsFunc(have, func(k netlink.Rule) bool { return sameRule(&k, r) }) {
			return false, nil
		}
	}
	return true, nil
}

// listRules gives the rules that carry our protocol.
func listRules(h *netlink.Handle) ([]netlink.Rule, error) {
	var out []netlink.Rule
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		var list []netlink.Rule
		err := retry(func() (err error) { list, err = h.RuleList(family); return })
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without this family, or without rules for it, has none
		}
		if err != nil {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		for _, k := range list {
			if k.Protocol == uint8(routeProtocol) {
				k.Family = family
				out = append(out, k)
			}
		}
	}
	return out, nil
}

func ruleOf(r desired.Rule) *netlink.Rule {
	k := netlink.NewRule()
	k.Priority, k.Family, k.Table, k.Invert = r.Priority, family(r.V6), r.Table, r.Not
	k.IifName, k.OifName, k.Mark = r.IIf, r.OIf, r.Mark
	k.Protocol = uint8(routeProtocol)
	if r.Mask != 0 {
		k.Mask = &r.Mask
	}
	if r.From.IsValid() {
		k.Src = toIPNet(r.From)
	}
	if r.To.IsValid() {
		k.Dst = toIPNet(r.To)
	}
	switch r.Action { // FR_ACT_…, linux/fib_rules.h
	case "blackhole":
		k.Type = unix.RTN_BLACKHOLE
	case "unreachable":
		k.Type = unix.RTN_UNREACHABLE
	case "prohibit":
		k.Type = unix.RTN_PROHIBIT
	}
	return k
}

func sameRule(k *netlink.Rule, r desired.Rule) bool {
	want := ruleOf(r)
	src, _ := toPrefix(k.Src)
	dst, _ := toPrefix(k.Dst)
	return k.Priority == want.Priority && k.Family == want.Family && (k.Table == want.Table || want.Type != 0) && k.Invert == want.Invert &&
		k.IifName == want.IifName && k.OifName == want.OifName && k.Mark == want.Mark && src == r.From && dst == r.To
}

func family(v6 bool) int {
	if v6 {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}
