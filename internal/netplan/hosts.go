package netplan

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

const fileMode = 0o644 // every user in the container reads them

// files gives the files of the container with this ID, which is in owner's
// network: its own, or those of whom it joined.
func (p *plan) files(id string, owner *model.Container) []desired.File {
	dir := p.facts.ContainersDir + "/" + id
	return []desired.File{
		{Path: dir + "/hosts", Content: p.hosts(owner), Mode: fileMode},
		{Path: dir + "/hostname", Content: hostname(owner) + "\n", Mode: fileMode},
		{Path: dir + "/resolv.conf", Content: p.resolvConfOf(owner), Mode: fileMode},
	}
}

// hostsHead is what every hosts file starts with, Docker's to the letter.
const hostsHead = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

// hosts gives a container's hosts file: --add-host, links, then itself. In the
// host's network it is the host's, unless --add-host asks for more.
func (p *plan) hosts(c *model.Container) string {
	if c.Host.NetworkMode == model.DriverHost && len(c.Host.ExtraHosts) == 0 && p.facts.HostHosts != "" {
		return p.facts.HostHosts
	}
	buf := make([]byte, 0, 512)
	buf = append(buf, hostsHead...)
	buf = p.extraHosts(buf, c)
	buf = p.linkHosts(buf, c)
	name := ownNames(c)
	for _, e := range p.snap.ByContainer[c.ID] {
		if bridged(p.snap.Networks[e.NetworkID]) {
			buf = hostsLines(buf, e, name, inside)
		}
	}
	return string(buf)
}

// ownNames gives a container's own name in its hosts file: with its domain, and
// then without.
func ownNames(c *model.Container) string {
	full := hostname(c)
	if c.Config.Domainname != "" {
		full += "." + c.Config.Domainname
	}
	if short, _, found := strings.Cut(full, "."); found {
		return full + " " + short
	}
	return full
}

func hostname(c *model.Container) string {
	if c.Config.Hostname != "" {
		return c.Config.Hostname
	}
	return shortID(c.ID)
}

// extraHosts adds --add-host NAME:ADDRESS.
func (p *plan) extraHosts(buf []byte, c *model.Container) []byte {
	for _, h := range c.Host.ExtraHosts {
		name, addr, _ := strings.Cut(h, ":")
		addr = strings.Trim(addr, "[]")
		if addr == "host-gateway" {
			addr = p.hostGateway[c.Tenant]
		}
		if name == "" || addr == "" {
			continue
		}
		buf = append(buf, addr...)
		buf = append(buf, '\t')
		buf = append(buf, name...)
		buf = append(buf, '\n')
	}
	return buf
}

// linkHosts adds a line per link: the alias, then the target's host name and name.
func (p *plan) linkHosts(buf []byte, c *model.Container) []byte {
	ls := p.snap.LinksOf[c.ID]
	if len(ls) == 0 {
		return buf
	}
	start := len(buf)
	buf = slices.Grow(buf, len(ls)*len("255.255.255.255\tan-alias its-hostname its-name\n"))
	aliases := make(map[string]struct{}, len(ls))
	for i, l := range ls {
		r := p.routes.of[c.ID][i]
		if r.To == nil {
			continue
		}
		_, again := aliases[l.Alias] // Compose repeats links on each network
		aliases[l.Alias] = struct{}{}
		for _, a := range r.Addresses() {
			line := len(buf)
			buf = linkLine(buf, a, l.Alias, hostname(r.Owner), r.Target.Name)
			if again && hasLine(buf[start:line], buf[line:]) {
				buf = buf[:line]
			}
		}
	}
	return buf
}

// linkLine adds an address with names, each once.
func linkLine(buf []byte, a netip.Addr, alias, host, name string) []byte {
	buf = a.AppendTo(buf)
	buf = append(append(buf, '\t'), alias...)
	if host != alias {
		buf = append(append(buf, ' '), host...)
	}
	if name != alias && name != host {
		buf = append(append(buf, ' '), name...)
	}
	return append(buf, '\n')
}

// hasLine tells whether a line, with its line break, is among others.
func hasLine(lines, line []byte) bool {
	for l := range bytes.Lines(lines) {
		if bytes.Equal(l, line) {
			return true
		}
	}
	return false
}

// hostsLines adds a line for each of an endpoint's addresses: a container's own
// names stand for those on its interface, which its programs can listen on.
func hostsLines(buf []byte, e *model.Endpoint, names string, address func(*model.Endpoint, bool) netip.Addr) []byte {
	for _, v6 := range [...]bool{false, true} {
		a := address(e, v6)
		if !a.IsValid() {
			continue
		}
		buf = a.AppendTo(buf)
		buf = append(buf, '\t')
		buf = append(buf, names...)
		buf = append(buf, '\n')
	}
	return buf
}

// resolvConfOf gives a container's resolv.conf: our resolver where the container
// is on a network of ours, else the host's servers or --dns.
func (p *plan) resolvConfOf(c *model.Container) string {
	h := &c.Host
	plain := len(h.DNS) == 0 && len(h.DNSSearch) == 0 && len(h.DNSOptions) == 0
	if !p.onBridge(c) {
		if plain && p.facts.HostResolvConf != "" {
			return p.facts.HostResolvConf
		}
		return resolvConf(p.servers(c), p.search(c), p.options(c))
	}
	if plain {
		return p.resolvConf
	}
	return resolvConf([]netip.Addr{resolver.Addr()}, p.search(c), withNdots(p.options(c)))
}

func (p *plan) onBridge(c *model.Container) bool {
	return slices.ContainsFunc(p.snap.ByContainer[c.ID], func(e *model.Endpoint) bool {
		return bridged(p.snap.Networks[e.NetworkID])
	})
}

// servers gives the name servers of a container without our resolver.
func (p *plan) servers(c *model.Container) []netip.Addr {
	if len(c.Host.DNS) > 0 {
		return c.Host.DNS
	}
	var out []netip.Addr
	for _, u := range p.facts.Upstreams {
		if u.Port() == 53 {
			out = append(out, u.Addr())
		}
	}
	return out
}

// search gives --dns-search, where a single dot means none, or the host's.
func (p *plan) search(c *model.Container) []string {
	if len(c.Host.DNSSearch) == 0 {
		return p.facts.Search
	}
	return slices.DeleteFunc(slices.Clone(c.Host.DNSSearch), func(s string) bool { return s == "." })
}

func (p *plan) options(c *model.Container) []string {
	if len(c.Host.DNSOptions) == 0 {
		return p.facts.ResolvOptions
	}
	return c.Host.DNSOptions
}

// withNdots adds ndots:0 where no ndots is given, as Docker does before its own
// resolver: a name without a dot is asked for as it is, before the search list.
func withNdots(options []string) []string {
	if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
		return options
	}
	return append(slices.Clip(options), "ndots:0")
}

// resolvConf writes a resolv.conf(5).
func resolvConf(servers []netip.Addr, search, options []string) string {
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s.String() + "\n")
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return b.String()
}
