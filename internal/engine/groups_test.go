package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// rule reads "tcp 80 90 10.0.0.0/8" or "any 0 0 =web".
func rule(text string) model.GroupRuleRequest {
	var r model.GroupRuleRequest
	_, _ = fmt.Sscan(text, &r.Proto, &r.First, &r.Last, &r.Prefix)
	if name, ok := strings.CutPrefix(r.Prefix, "="); ok {
		r.Prefix, r.Group = "", name
	}
	return r
}

func (r *rig) group(t *testing.T, name string, rules ...string) string {
	t.Helper()
	req := model.SecurityGroupRequest{Name: name}
	for _, text := range rules {
		req.Rules = append(req.Rules, rule(text))
	}
	g, err := r.CreateSecurityGroup(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return g.ID
}

// words gives a group's rules as the command line has them.
func (r *rig) words(name string) string {
	s := r.Snapshot()
	var out []string
	for _, rule := range s.SecurityGroups[s.GroupNames[name]].Rules {
		out = append(out, ruleWords(s, rule))
	}
	return strings.Join(out, " ")
}

// inGroups creates with the label that --sg becomes.
func inGroups(names string) func(*model.CreateRequest) {
	return func(req *model.CreateRequest) { req.Config.Labels = map[string]string{"com.jackstay.sg": names} }
}

func TestGroupRules(t *testing.T) {
	r := newWorld(t).engine()
	r.group(t, "web", "tcp 80 0 10.0.0.0/8", "TCP 80 80 10.0.0.0/8", "udp 53 60", "icmp 0 0 192.0.2.1", "any 0 0 =web", "sctp 0 0")
	if got, want := r.words("web"), "tcp:80:10.0.0.0/8 udp:53-60:0.0.0.0/0 icmp:192.0.2.1/32 any:web sctp:0.0.0.0/0"; got != want {
		t.Errorf("rules %s, want %s", got, want)
	}
	for _, c := range []struct{ rule, want string }{
		{"", "the protocol is missing"}, {"gre 0 0", `unknown protocol "gre"`}, {"icmp 8 0", "icmp has no ports here"}, {"any 1 2", "any has no ports here"},
		{"tcp 90 80", "ports go from 1 to 65535, the lower one first"}, {"tcp 0 80", "ports go from"}, {"tcp 1 65536", "ports go from"}, {"tcp -1 5", "ports go from"},
		{"tcp 80 0 10.0.0.1/8", "did you mean 10.0.0.0/8?"}, {"tcp 80 0 somewhere", "neither an address nor a prefix"},
		{"tcp 80 0 2001:db8::1/32", "did you mean 2001:db8::/32?"}, {"tcp 80 0 ::ffff:10.0.0.1", "write it as IPv4"}, {"tcp 80 0 =nobody", "no such security group: nobody"},
	} {
		_, err := r.CreateSecurityGroup(t.Context(), model.SecurityGroupRequest{Name: "x", Rules: []model.GroupRuleRequest{rule(c.rule)}})
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "of security group x") {
			t.Errorf("%q: %v, want %q", c.rule, err, c.want)
		}
	}
	both := rule("tcp 80 0 10.0.0.0/8")
	both.Group = "web"
	if _, err := r.CreateSecurityGroup(t.Context(), model.SecurityGroupRequest{Name: "x", Rules: []model.GroupRuleRequest{both}}); err == nil || !strings.Contains(err.Error(), "either an address or a group") {
		t.Errorf("two sources: %v", err)
	}
	for _, name := range []string{"", "10.0.0.1", "a,b", "-x", "a b"} {
		if _, err := r.CreateSecurityGroup(t.Context(), model.SecurityGroupRequest{Name: name}); !errs.Is(err, errs.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := r.CreateSecurityGroup(t.Context(), model.SecurityGroupRequest{Name: "web"}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "sg update web") {
		t.Errorf("the name again: %v", err)
	}
	if n := len(r.Snapshot().SecurityGroups); n != 1 {
		t.Errorf("%d groups are left", n)
	}
}

func TestUpdateGroup(t *testing.T) {
	r := newWorld(t).engine()
	r.group(t, "web", "tcp 80 0")
	db := r.group(t, "db")
	change := func(replace, remove, add string) model.SecurityGroupChange {
		var ch model.SecurityGroupChange
		list := func(text string) (out []model.GroupRuleRequest) {
			for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' }) {
				out = append(out, rule(one))
			}
			return out
		}
		ch.Replace, ch.Rules, ch.Remove, ch.Add = replace != "", list(replace), list(remove), list(add)
		return ch
	}
	for _, c := range []struct{ replace, remove, add, rules, err string }{
		{"", "", "tcp 443 0;tcp 80 0", "tcp:80:0.0.0.0/0 tcp:443:0.0.0.0/0", ""},
		{"", "tcp 80 0", "udp 53 0 =db", "tcp:443:0.0.0.0/0 udp:53:db", ""},
		{"", "tcp 80 0", "", "tcp:443:0.0.0.0/0 udp:53:db", "security group web has no rule tcp:80:0.0.0.0/0: it has tcp:443:0.0.0.0/0, udp:53:db"},
		{"", "", "gre 0 0", "tcp:443:0.0.0.0/0 udp:53:db", "unknown protocol"},
		{"icmp 0 0;any 0 0 =web", "icmp 0 0", "", "any:web", ""},
		{";", "", "", "", ""},
	} {
		_, err := r.UpdateSecurityGroup(t.Context(), "web", change(c.replace, c.remove, c.add))
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %v", c, err)
		}
		if got := r.words("web"); got != c.rules {
			t.Errorf("%+v: rules %q", c, got)
		}
	}
	text := "the data"
	if g, err := r.UpdateSecurityGroup(t.Context(), db[:12], model.SecurityGroupChange{Description: &text}); err != nil || g.Description != text || g.Name != "db" {
		t.Errorf("description: %+v, %v", g, err)
	}
	var many []model.GroupRuleRequest
	for i := range maxGroupRules + 1 {
		many = append(many, rule(fmt.Sprintf("tcp %d 0", 2*i+1)))
	}
	if _, err := r.UpdateSecurityGroup(t.Context(), "web", model.SecurityGroupChange{Add: many}); err == nil || !strings.Contains(err.Error(), "129 rules: 128 are the most") {
		t.Errorf("too many rules: %v", err)
	}
}

func TestGroupsOfContainers(t *testing.T) {
	r := newWorld(t).engine()
	web, db := r.group(t, "web"), r.group(t, "db", "tcp 5432 0 =web")
	has := func(id string) string {
		return strings.Join(groupNames(r.Snapshot(), r.Snapshot().Containers[id].SecurityGroups), " ")
	}
	one := r.runContainer(t, "one", "serve", inGroups("web"))
	two := r.create(t, "two", "serve", inGroups("web,db,web")) // stopped
	if has(one) != "web" || has(two) != "web db" {
		t.Fatalf("at create: %q and %q", has(one), has(two))
	}
	for _, c := range []struct {
		do    func(ref string, names []string) error
		names string
		want  string
		err   string
	}{
		{attach(t, r), "db", "web db", ""},
		{attach(t, r), "db", "web db", ""}, // it is so already
		{detach(t, r), web[:12], "db", ""},
		{detach(t, r), "web", "db", "container one is not in security group web: it has db"},
		{detach(t, r), "nobody", "db", "no such security group: nobody"},
		{attach(t, r), "web nobody", "db", "no such security group: nobody"},
		{attach(t, r), "", "db", "no security group is given"},
		{detach(t, r), "db", "", ""},
		{detach(t, r), "db", "", "it has none"},
		{attach(t, r), "web db", "web db", ""},
	} {
		err := c.do("one", strings.Fields(c.names))
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.names, err, c.err)
		}
		if has(one) != c.want {
			t.Errorf("%s: in %q, want %q", c.names, has(one), c.want)
		}
	}
	if err := r.AttachSecurityGroups(t.Context(), "nobody", []string{"web"}); !errs.Is(err, errs.NotFound) {
		t.Errorf("an unknown container: %v", err)
	}
	for ref, want := range map[string]string{
		"web": "security group web is in use by container one, container two, a rule of security group db",
		db:    "security group db is in use by container one, container two",
		"x":   "no such security group: x",
	} {
		if err := r.RemoveSecurityGroup(t.Context(), ref); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("rm %s: %v", ref, err)
		}
	}
	for _, name := range []string{"one", "two"} {
		if err := r.RemoveContainer(t.Context(), name, model.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.RemoveSecurityGroup(t.Context(), "db"), r.RemoveSecurityGroup(t.Context(), "web"), store.Check(r.Snapshot())); err != nil {
		t.Error(err)
	}
}

func attach(t *testing.T, r *rig) func(string, []string) error {
	return func(ref string, names []string) error { return r.AttachSecurityGroups(t.Context(), ref, names) }
}

func detach(t *testing.T, r *rig) func(string, []string) error {
	return func(ref string, names []string) error { return r.DetachSecurityGroups(t.Context(), ref, names) }
}

// What can't have groups of its own, and too much of it, is refused, and
// nothing is made.
func TestGroupRefusals(t *testing.T) {
	r := newWorld(t).engine()
	r.runContainer(t, "one", "serve")
	var names []string
	for i := range maxGroupsOf + 1 {
		names = append(names, fmt.Sprintf("g%d", i))
		r.group(t, names[i])
	}
	all := strings.Join(names, ",")
	mode := func(m model.NetworkMode) func(*model.CreateRequest) {
		return func(req *model.CreateRequest) { req.Host.NetworkMode = m }
	}
	for _, c := range []struct {
		opts []func(*model.CreateRequest)
		want string
	}{
		{[]func(*model.CreateRequest){inGroups("nobody")}, "no such security group: nobody"},
		{[]func(*model.CreateRequest){inGroups("g0,")}, "(--sg): give one name, or several"},
		{[]func(*model.CreateRequest){inGroups(all)}, "in 9 security groups: 8 are the most"},
		{[]func(*model.CreateRequest){inGroups("g0"), mode("host")}, "is in the host's network and cannot be in security groups"},
		{[]func(*model.CreateRequest){inGroups("g0"), mode("container:one")}, "is in the network of container one and cannot be in security groups: name that one"},
	} {
		req := model.CreateRequest{Name: "two", Image: "img"}
		for _, o := range c.opts {
			o(&req)
		}
		if _, _, err := r.CreateContainer(t.Context(), req); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if s := r.Snapshot(); len(s.Containers) != 1 || len(r.w.layers) != 1 {
			t.Fatalf("%s: something was made", c.want)
		}
	}
	if err := r.AttachSecurityGroups(t.Context(), "one", names); err == nil || !strings.Contains(err.Error(), "8 are the most") {
		t.Errorf("attach: %v", err)
	}
	// 700 containers with 100 rules that can't be made fewer.
	var rules []model.GroupRuleRequest
	for i := range 100 {
		rules = append(rules, rule(fmt.Sprintf("tcp %d 0", 2*i+1)))
	}
	_, err := r.store.Update(func(tx *store.Tx) error {
		for i := range 700 {
			id := fmt.Sprint("crowd", i)
			if err := tx.PutContainer(&model.Container{ID: id, Name: id, SecurityGroups: []string{tx.Snapshot().GroupNames["g1"]}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := r.words("g1")
	if _, err := r.UpdateSecurityGroup(t.Context(), "g1", model.SecurityGroupChange{Add: rules}); err == nil || !strings.Contains(err.Error(), "would come to 70000 elements in the firewall, and 65536 are the most") {
		t.Errorf("too many elements: %v", err)
	}
	if r.words("g1") != before {
		t.Error("the rules were changed all the same")
	}
}

// A tenant's groups leave room for others', and count with everybody's.
func TestTenantsGroupElements(t *testing.T) {
	r := newWorld(t).engine()
	acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
	var rules []model.GroupRuleRequest
	for i := range 100 {
		rules = append(rules, rule(fmt.Sprintf("tcp %d 0", 2*i+1)))
	}
	crowd := func(of *rig, name string, n int) {
		t.Helper()
		_, err := of.Engine.store.Update(func(tx *store.Tx) error {
			for i := range n {
				id := fmt.Sprint(name, i)
				if err := tx.PutContainer(&model.Container{ID: id, Name: id, SecurityGroups: []string{tx.Snapshot().GroupNames["web"]}}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add := func(of *rig, ref string) error {
		_, err := of.UpdateSecurityGroup(t.Context(), ref, model.SecurityGroupChange{Add: rules})
		return err
	}
	for _, of := range []*rig{r, acme, umbrella} {
		of.group(t, "web")
	}
	crowd(acme, "a", 82) // 8200 of 8192
	for who, err := range map[string]error{"acme": add(acme, "web"), "the administrator": add(r, "web@acme")} {
		if err == nil || !strings.Contains(err.Error(), "would come to 8200 elements in the firewall, and 8192 are the most") {
			t.Errorf("a tenant's, by %s: %v", who, err)
		}
	}
	crowd(umbrella, "u", 80)
	if err := add(umbrella, "web"); err != nil {
		t.Errorf("another tenant's: %v", err)
	}
	crowd(r, "r", 570)
	if err := add(r, "web"); err != nil {
		t.Fatal(err)
	}
	small := acme.group(t, "small")
	_, err := acme.UpdateSecurityGroup(t.Context(), small, model.SecurityGroupChange{Add: rules})
	if err != nil {
		t.Fatal(err)
	}
	crowd(r, "s", 10) // 66000 of 65536: past every check, as an older record would be
	if _, err := acme.UpdateSecurityGroup(t.Context(), small, model.SecurityGroupChange{Add: []model.GroupRuleRequest{rule("udp 1 0")}}); err == nil ||
		!strings.Contains(err.Error(), "66000 elements in the firewall, and 65536 are the most") {
		t.Errorf("together with everybody's: %v", err)
	}
}
