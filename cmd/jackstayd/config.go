package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"github.com/jackstay/jackstay/internal/model"
)

// defaultConfig is read if it is there; another one given by --config must be.
const defaultConfig = "/etc/jackstay/config.toml"

// config is everything the daemon can be told: by flags, or by a TOML file
// whose keys are the flags' names. A flag wins over the file.
type config struct {
	Root     string   `toml:"root"`
	RunDir   string   `toml:"run-dir"`
	Hosts    []string `toml:"host"`
	Group    string   `toml:"group"`
	TLSCA    string   `toml:"tlscacert"`
	TLSCert  string   `toml:"tlscert"`
	TLSKey   string   `toml:"tlskey"`
	BIP      string   `toml:"bip"`
	ICC      bool     `toml:"icc"`
	Pools    []string `toml:"default-address-pool"`
	DNS      []string `toml:"dns"`
	LogLevel string   `toml:"log-level"`
	Runtime  string   `toml:"runtime"`
	Conmon   string   `toml:"conmon"`
	NFT      string   `toml:"nft"`
	// ImageStores are further, read-only image stores (graph roots).
	ImageStores []string `toml:"image-store"`

	file    string
	version bool
	cleanup bool
}

// newFlags declares the flags; a flag's default stands in c already.
func newFlags(c *config) *pflag.FlagSet {
	f := pflag.NewFlagSet("jackstayd", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&c.Root, "root", "/var/lib/jackstay", "state that survives a reboot")
	f.StringVar(&c.RunDir, "run-dir", "/run/jackstay", "state that does not: sockets, namespaces, bundles")
	f.StringArrayVarP(&c.Hosts, "host", "H", nil, "where the API listens: unix://PATH, fd:// for systemd's socket, or tcp://ADDRESS:PORT with --tlscacert, --tlscert and --tlskey (default unix://RUN-DIR/jackstay.sock)")
	f.StringVar(&c.Group, "group", "jackstay", "group that may use the socket")
	f.StringVar(&c.TLSCA, "tlscacert", "", "who signs clients' certificates (PEM): one with an organisation is that tenant's, one without the administrator's")
	f.StringVar(&c.TLSCert, "tlscert", "", "the daemon's own certificate (PEM)")
	f.StringVar(&c.TLSKey, "tlskey", "", "the key of that (PEM)")
	f.StringVar(&c.BIP, "bip", "172.17.0.1/16", "gateway address and length of the default network; if they are taken, the next free pool")
	f.BoolVar(&c.ICC, "icc", true, "containers of a default network (each tenant has one of its own) reach each other; false: only along links")
	f.StringArrayVar(&c.Pools, "default-address-pool", nil, "where networks get their subnets: base=CIDR,size=BITS (may be repeated)")
	f.StringArrayVar(&c.DNS, "dns", nil, "resolver asked for names that aren't ours (default: the host's; may be repeated)")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.Runtime, "runtime", "runc", "OCI runtime, by name or path")
	f.StringVar(&c.Conmon, "conmon", "conmon", "conmon, by name or path")
	f.StringVar(&c.NFT, "nft", "nft", "nft, by name or path")
	f.StringArrayVar(&c.ImageStores, "image-store", nil, "a further, read-only image store (may be repeated)")
	f.StringVar(&c.file, "config", defaultConfig, "TOML file with the same names as keys")
	f.BoolVar(&c.cleanup, "cleanup", false, "take Jackstay's firewall tables, bridges, floating IPs and namespaces off this host and exit")
	f.BoolVarP(&c.version, "version", "v", false, "print the version and exit")
	return f
}

// parseConfig reads flags and file.
func parseConfig(args []string) (*config, error) {
	c := &config{}
	f := newFlags(c)
	f.Usage = func() {
		fmt.Fprintf(os.Stderr, "Usage:  jackstayd [OPTIONS]\n\nThe Jackstay daemon: runs containers and the network between them.\n\nOptions:\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("jackstayd takes no arguments, got %q", f.Args())
	}
	if err := c.readFile(f); err != nil {
		return nil, err
	}
	return c, c.complete()
}

// readFile takes from the file what no flag said.
func (c *config) readFile(f *pflag.FlagSet) error {
	var fromFile config
	meta, err := toml.DecodeFile(c.file, &fromFile)
	if errors.Is(err, fs.ErrNotExist) && !f.Changed("config") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("config %s: %w", c.file, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("config %s: unknown key %q", c.file, unknown[0].String())
	}
	given := func(name string) bool { return meta.IsDefined(name) && !f.Changed(name) }
	for name, set := range map[string]func(){
		"root": func() { c.Root = fromFile.Root }, "run-dir": func() { c.RunDir = fromFile.RunDir },
		"host": func() { c.Hosts = fromFile.Hosts }, "group": func() { c.Group = fromFile.Group },
		"bip": func() { c.BIP = fromFile.BIP }, "icc": func() { c.ICC = fromFile.ICC }, "default-address-pool": func() { c.Pools = fromFile.Pools },
		"tlscacert": func() { c.TLSCA = fromFile.TLSCA }, "tlscert": func() { c.TLSCert = fromFile.TLSCert }, "tlskey": func() { c.TLSKey = fromFile.TLSKey },
		"dns": func() { c.DNS = fromFile.DNS }, "log-level": func() { c.LogLevel = fromFile.LogLevel },
		"runtime": func() { c.Runtime = fromFile.Runtime }, "conmon": func() { c.Conmon = fromFile.Conmon },
		"nft": func() { c.NFT = fromFile.NFT }, "image-store": func() { c.ImageStores = fromFile.ImageStores },
	} {
		if given(name) {
			set()
		}
	}
	return nil
}

// complete makes paths absolute, fills in what follows from the rest, and
// refuses what can't be right before anything is touched.
func (c *config) complete() error {
	for _, p := range []*string{&c.Root, &c.RunDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{"unix://" + filepath.Join(c.RunDir, "jackstay.sock")}
	}
	_, poolsErr := c.pools()
	_, bipErr := c.bip()
	_, dnsErr := c.dns()
	return errors.Join(poolsErr, bipErr, dnsErr)
}

// pools parses --default-address-pool.
func (c *config) pools() ([]model.AddressPool, error) {
	var pools []model.AddressPool
	for _, given := range c.Pools {
		var p model.AddressPool
		for _, field := range strings.Split(given, ",") {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "base":
				p.Base = value
			case "size":
				size, err := strconv.Atoi(value)
				if err != nil {
					return nil, fmt.Errorf("--default-address-pool %q: size is not a number", given)
				}
				p.Size = size
			default:
				return nil, fmt.Errorf("--default-address-pool %q: unknown key %q, want base=CIDR,size=BITS", given, key)
			}
		}
		base, err := netip.ParsePrefix(p.Base)
		if err != nil {
			return nil, fmt.Errorf("--default-address-pool %q: base is not a CIDR", given)
		}
		if p.Size < base.Bits() || p.Size > base.Addr().BitLen()-2 {
			return nil, fmt.Errorf("--default-address-pool %q: size must be between %d and %d", given, base.Bits(), base.Addr().BitLen()-2)
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// bip parses --bip.
func (c *config) bip() (netip.Prefix, error) {
	p, err := netip.ParsePrefix(c.BIP)
	if err != nil || !p.Addr().Is4() || p.Addr() == p.Masked().Addr() {
		return netip.Prefix{}, fmt.Errorf("--bip %q: want an IPv4 gateway address with its length, such as 172.17.0.1/16", c.BIP)
	}
	return p, nil
}

// dns parses --dns.
func (c *config) dns() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, given := range c.DNS {
		addr, err := netip.ParseAddr(given)
		if err != nil {
			return nil, fmt.Errorf("--dns %q: not an IP address", given)
		}
		out = append(out, netip.AddrPortFrom(addr, 53))
	}
	return out, nil
}
