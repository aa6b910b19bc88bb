package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Other firewalls filter forwarded packets too: dockerd sets the policy of
// iptables' FORWARD chain to drop, ufw adds rules that do, firewalld rejects
// what comes from no zone of its own. A packet must pass every base chain of a
// hook, so our accept does not help there, and theirs would drop containers'
// traffic. Hence the one exception to "never a rule on a chain that is not
// ours": accept rules for our bridges at the top of the chains below, each with
// the comment "jackstay", so that they are recognised and removed again.
//
// They open nothing: accept ends only the chain it is in. The packet still
// passes the chain `forward` of our own table, in which drop is final,
// whichever of the two is evaluated first (nft(8), VERDICT STATEMENT).
//
// Left alone: chains of other names, which somebody wrote by hand and may mean
// as they are (said once in the log when their policy is drop); tables with the
// owner flag, which the kernel lets nobody else change; and rules of
// iptables-legacy, which nf_tables does not see.
type foreignChain struct {
	family       byte
	table, chain string
}

func (c foreignChain) String() string {
	f := map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}[c.family]
	return f + " " + c.table + " " + c.chain
}

func foreignChains() []foreignChain {
	return []foreignChain{
		{unix.NFPROTO_IPV4, "filter", "FORWARD"},           // iptables-nft: dockerd, ufw
		{unix.NFPROTO_IPV6, "filter", "FORWARD"},           // ip6tables-nft
		{unix.NFPROTO_INET, "firewalld", "filter_FORWARD"}, // firewalld
	}
}

const foreignComment = "jackstay"

// pattern matches a bridge's name: as input or output, whole or its start.
type pattern struct {
	out  bool
	name string // with a final * for every name that starts so
}

// patterns are those every host needs and those of bridges with names of their own.
func patterns(bridges map[string]struct{}) []pattern {
	names := []string{"jackstay0", "jk-*"}
	for b := range bridges {
		if custom(b) {
			names = append(names, b)
		}
	}
	slices.Sort(names[2:])
	var out []pattern
	for _, n := range names {
		out = append(out, pattern{false, n}, pattern{true, n})
	}
	return out
}

func custom(bridge string) bool { return bridge != "jackstay0" && !strings.HasPrefix(bridge, "jk-") }

// missingRule is a rule of ours that a foreign chain should have.
type missingRule struct {
	chain foreignChain
	pattern
}

// missingForeign compares; chains that are not there, do nothing, or did not
// take our rules need none.
func (f *Firewall) missingForeign(k *kernel, bridges map[string]struct{}) ([]missingRule, error) {
	var out []missingRule
	for _, fc := range foreignChains() {
		if f.refused[fc.String()] {
			continue
		}
		policy, ok, err := k.forwardPolicy(fc)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		have, foreign, err := k.ourRules(fc)
		if err != nil {
			return nil, err
		}
		if policy == nftables.ChainPolicyAccept && foreign == 0 {
			continue
		}
		for _, p := range patterns(bridges) {
			if _, ok := have[p]; !ok {
				out = append(out, missingRule{fc, p})
			}
		}
	}
	return out, nil
}

// ensureForeign inserts what is missing. A chain that refuses is told and left
// alone until the next Load.
func (f *Firewall) ensureForeign(bridges map[string]struct{}) error {
	for range len(foreignChains()) + 1 {
		var missing []missingRule
		if err := f.with(func(k *kernel) (err error) {
			missing, err = f.missingForeign(k, bridges)
			return err
		}); err != nil {
			return fmt.Errorf("look for other firewalls: %w", err)
		}
		if len(missing) == 0 {
			break
		}
		fc := missing[0].chain
		if err := f.with(func(k *kernel) error {
			for _, m := range missing {
				if m.chain == fc {
					k.InsertRule(m.rule())
				}
			}
			return k.Flush()
		}); err != nil {
			f.refused[fc.String()] = true
			f.log.Warn("another firewall's chain takes no rules; let it accept forwarded traffic of our bridges, or containers reach nothing outside",
				"chain", fc.String(), "bridges", "jackstay0, jk-*", "error", err)
		}
	}
	return f.warnPolicies()
}

// loadForeign makes foreign chains as they should be, those that refused before
// included, and removes rules for bridges that are gone.
func (f *Firewall) loadForeign(bridges map[string]struct{}) error {
	clear(f.refused)
	if err := f.removeForeign(func(n string) bool {
		_, there := bridges[n]
		return custom(n) && !there
	}); err != nil {
		return err
	}
	return f.ensureForeign(bridges)
}

// updateForeign follows bridges with names of their own.
func (f *Firewall) updateForeign(add, del map[string]struct{}) error {
	gone := map[string]bool{}
	for b := range del {
		if _, stays := add[b]; !stays && custom(b) {
			gone[b] = true
		}
	}
	if len(gone) > 0 {
		if err := f.removeForeign(func(n string) bool { return gone[n] }); err != nil {
			return err
		}
	}
	for b := range add {
		if custom(b) {
			return f.ensureForeign(add)
		}
	}
	return nil
}

// removeForeign deletes our rules whose pattern's name is wanted gone.
func (f *Firewall) removeForeign(gone func(name string) bool) error {
	var all error
	for _, fc := range foreignChains() {
		err := f.with(func(k *kernel) error {
			if _, ok, err := k.forwardPolicy(fc); err != nil || !ok {
				return err
			}
			have, _, err := k.ourRules(fc)
			if err != nil {
				return err
			}
			for p, handles := range have {
				if !gone(p.name) {
					continue
				}
				for _, h := range handles {
					r := missingRule{fc, p}.rule()
					r.Handle = h
					if err := k.DelRule(r); err != nil {
						return err
					}
				}
			}
			return k.Flush()
		})
		if err != nil {
			all = errors.Join(all, fmt.Errorf("remove our rules from %s: %w", fc, err))
		}
	}
	return all
}

// rule is `iifname NAME accept comment "jackstay"`, in the form that
// iptables-nft reads too: the name with its NUL, or its start without.
func (m missingRule) rule() *nftables.Rule {
	key := expr.MetaKeyIIFNAME
	if m.out {
		key = expr.MetaKeyOIFNAME
	}
	data := []byte(m.name + "\x00")
	if start, ok := strings.CutSuffix(m.name, "*"); ok {
		data = []byte(start)
	}
	t := &nftables.Table{Family: nftables.TableFamily(m.chain.family), Name: m.chain.table}
	return &nftables.Rule{
		Table: t, Chain: &nftables.Chain{Table: t, Name: m.chain.chain},
		Exprs: []expr.Any{
			&expr.Meta{Key: key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data},
			&expr.Verdict{Kind: expr.VerdictAccept},
		},
		UserData: userdata.AppendString(nil, userdata.TypeComment, foreignComment),
	}
}

// forwardPolicy gives a base chain's policy; ok is false when there is none.
func (k *kernel) forwardPolicy(fc foreignChain) (nftables.ChainPolicy, bool, error) {
	chains, err := k.chains(fc.family, fc.table)
	if err != nil {
		return 0, false, err
	}
	for _, c := range chains {
		if cstring(c[unix.NFTA_CHAIN_NAME]) == fc.chain && isForward(c) {
			return policyOf(c), true, nil
		}
	}
	return 0, false, nil
}

func isForward(chain map[uint16][]byte) bool {
	num := attrsOf(chain[unix.NFTA_CHAIN_HOOK])[unix.NFTA_HOOK_HOOKNUM]
	return len(num) == 4 && binary.BigEndian.Uint32(num) == unix.NF_INET_FORWARD
}

func policyOf(chain map[uint16][]byte) nftables.ChainPolicy {
	if p := chain[unix.NFTA_CHAIN_POLICY]; len(p) == 4 {
		return nftables.ChainPolicy(binary.BigEndian.Uint32(p))
	}
	return nftables.ChainPolicyAccept
}

// ourRules gives the handles of our rules in a chain, and how many rules are
// somebody else's.
func (k *kernel) ourRules(fc foreignChain) (map[pattern][]uint64, int, error) {
	rules, err := k.rules(fc.family, fc.table, fc.chain)
	if err != nil {
		return nil, 0, err
	}
	have, foreign := map[pattern][]uint64{}, 0
	for _, r := range rules {
		comment, _ := userdata.GetString(r[unix.NFTA_RULE_USERDATA], userdata.TypeComment)
		handle := r[unix.NFTA_RULE_HANDLE]
		if comment != foreignComment || len(handle) != 8 {
			foreign++
			continue
		}
		p := readPattern(r[unix.NFTA_RULE_EXPRESSIONS])
		have[p] = append(have[p], binary.BigEndian.Uint64(handle))
	}
	return have, foreign, nil
}

// readPattern reads back what rule made.
func readPattern(exprs []byte) (p pattern) {
	for _, e := range listOf(exprs) {
		a := attrsOf(e)
		data := attrsOf(a[unix.NFTA_EXPR_DATA])
		switch cstring(a[unix.NFTA_EXPR_NAME]) {
		case "meta":
			key := data[unix.NFTA_META_KEY]
			p.out = len(key) == 4 && binary.BigEndian.Uint32(key) == unix.NFT_META_OIFNAME
		case "cmp":
			v := attrsOf(data[unix.NFTA_CMP_DATA])[unix.NFTA_DATA_VALUE]
			p.name = name(v)
			if len(v) > 0 && v[len(v)-1] != 0 {
				p.name += "*"
			}
		}
	}
	return p
}

// warnPolicies says once which other chains drop forwarded packets by policy.
func (f *Firewall) warnPolicies() error {
	return f.with(func(k *kernel) error {
		for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_INET} {
			chains, err := k.allChains(family)
			if err != nil {
				return err
			}
			for _, c := range chains {
				fc := foreignChain{family, cstring(c[unix.NFTA_CHAIN_TABLE]), cstring(c[unix.NFTA_CHAIN_NAME])}
				if !isForward(c) || policyOf(c) != nftables.ChainPolicyDrop || f.warned[fc.String()] || slices.Contains(foreignChains(), fc) {
					continue
				}
				f.warned[fc.String()] = true
				f.log.Warn("a chain of the host's own firewall drops forwarded packets by policy; containers reach only what its rules accept",
					"chain", fc.String(), "add", `iifname { "jackstay0", "jk-*" } accept; oifname { "jackstay0", "jk-*" } accept`)
			}
		}
		return nil
	})
}
