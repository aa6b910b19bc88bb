package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// addRules gives rules with others after them, each once. of is the group they
// belong to, which they may name before it is stored.
func addRules(s *model.Snapshot, of *model.SecurityGroup, rules []model.GroupRule, add []model.GroupRuleRequest) ([]model.GroupRule, error) {
	out := slices.Clone(rules)
	for _, req := range add {
		r, err := groupRule(s, of, req)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	if len(out) > maxGroupRules {
		return nil, errs.New(errs.Invalid, "security group %s would have %d rules: %d are the most", of.Name, len(out), maxGroupRules)
	}
	return out, nil
}

// removeRules gives rules without others, which must be there.
func removeRules(s *model.Snapshot, of *model.SecurityGroup, rules []model.GroupRule, remove []model.GroupRuleRequest) ([]model.GroupRule, error) {
	out := slices.Clone(rules)
	for _, req := range remove {
		r, err := groupRule(s, of, req)
		if err != nil {
			return nil, err
		}
		i := slices.Index(out, r)
		if i < 0 {
			var has []string
			for _, r := range rules {
				has = append(has, ruleWords(s, r))
			}
			return nil, errs.New(errs.NotFound, "security group %s has no rule %s%s", of.Name, ruleWords(s, r), hasWords(has))
		}
		out = slices.Delete(out, i, i+1)
	}
	return out, nil
}

// groupRule reads one rule.
func groupRule(s *model.Snapshot, of *model.SecurityGroup, req model.GroupRuleRequest) (model.GroupRule, error) {
	r := model.GroupRule{Proto: strings.ToLower(req.Proto)}
	bad := func(format string, args ...any) (model.GroupRule, error) {
		return r, errs.New(errs.Invalid, "invalid rule %s of security group %s: %w", requestWords(req), of.Name, fmt.Errorf(format, args...))
	}
	switch r.Proto {
	case "tcp", "udp", "sctp":
	case "icmp", "any":
		if req.First != 0 || req.Last != 0 {
			return bad("%s has no ports here: leave them out", r.Proto)
		}
	case "":
		return bad("the protocol is missing: tcp, udp, sctp, icmp or any")
	default:
		return bad("unknown protocol %q: there are tcp, udp, sctp, icmp and any", req.Proto)
	}
	first, last := req.First, req.Last
	if last == 0 {
		last = first
	}
	if first < 0 || last > 65535 || last < first || first == 0 && last != 0 {
		return bad("ports go from 1 to 65535, the lower one first")
	}
	r.First, r.Last = uint16(first), uint16(last)
	switch {
	case req.Prefix != "" && req.Group != "":
		return bad("its source is either an address or a group: give one of them")
	case req.Group == of.Name && req.Group != "":
		r.Group = of.ID
	case req.Group != "":
		g, err := findGroup(s, req.Group)
		if err != nil {
			return bad("its source: %w", err)
		}
		r.Group = g.ID
	default:
		p, err := ruleSource(req.Prefix)
		if err != nil {
			return bad("%w", err)
		}
		r.Source = p
	}
	return r, nil
}

// ruleSource reads an address or a prefix; empty: everybody, of both families.
func ruleSource(text string) (netip.Prefix, error) {
	if text == "" {
		text = "0.0.0.0/0"
	}
	p, err := netip.ParsePrefix(text)
	if a, addrErr := netip.ParseAddr(text); addrErr == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		return p, fmt.Errorf("its source %q is neither an address nor a prefix such as 10.0.0.0/8", text)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("its source %s: write it as IPv4", p)
	case p != p.Masked():
		return p, fmt.Errorf("its source %s has bits beyond its length: did you mean %s?", p, p.Masked())
	}
	return p, nil
}

// ruleWords writes a rule as the command line has it: PROTO[:PORTS][:SOURCE].
func ruleWords(s *model.Snapshot, r model.GroupRule) string {
	source := r.Source.String()
	if r.Group != "" {
		source = strings.Join(groupNames(s, []string{r.Group}), "")
	}
	return joinRule(r.Proto, int(r.First), int(r.Last), source)
}

// requestWords is ruleWords for what was asked for.
func requestWords(r model.GroupRuleRequest) string {
	return joinRule(r.Proto, r.First, r.Last, r.Prefix+r.Group)
}

func joinRule(proto string, first, last int, source string) string {
	ports := ""
	switch {
	case first != 0 && (last == first || last == 0):
		ports = fmt.Sprint(first)
	case first != 0 || last != 0:
		ports = fmt.Sprintf("%d-%d", first, last)
	}
	out := proto
	if ports != "" {
		out += ":" + ports
	}
	if source != "" {
		out += ":" + source
	}
	return out
}
