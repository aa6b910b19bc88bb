package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jackstay/jackstay/internal/model"
)

// file writes a config file and gives its path.
func file(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverTheFile(t *testing.T) {
	path := file(t, "root = \"/file/root\"\nbip = \"10.1.0.1/24\"\ndns = [\"9.9.9.9\"]\ndefault-address-pool = [\"base=10.0.0.0/8,size=24\"]\n")
	c, err := parseConfig([]string{"--config", path, "--bip", "10.2.0.1/24", "--run-dir", "/run/x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Root != "/file/root" || c.BIP != "10.2.0.1/24" || c.RunDir != "/run/x" || c.LogLevel != "info" {
		t.Errorf("got %+v", c)
	}
	if want := []string{"unix:///run/x/jackstay.sock"}; !cmp.Equal(c.Hosts, want) {
		t.Errorf("hosts %v, want %v", c.Hosts, want)
	}
	pools, err := c.pools()
	if want := []model.AddressPool{{Base: "10.0.0.0/8", Size: 24}}; err != nil || !cmp.Equal(pools, want) {
		t.Errorf("pools %v %v, want %v", pools, err, want)
	}
	if servers, err := c.dns(); err != nil || servers[0].String() != "9.9.9.9:53" {
		t.Errorf("dns %v %v", servers, err)
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	check := func(args []string, want string) {
		t.Helper()
		c, err := parseConfig(args)
		for _, parse := range []func() error{
			func() error { _, err := c.pools(); return err },
			func() error { _, err := c.bip(); return err },
			func() error { _, err := c.dns(); return err },
			func() error { _, err := newLogger(c.LogLevel); return err },
		} {
			if err == nil {
				err = parse()
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want it to say %q", args, err, want)
		}
	}
	check([]string{"start"}, "takes no arguments")
	check([]string{"--nonsense"}, "--nonsense")
	check([]string{"--config", "/does/not/exist"}, "/does/not/exist")
	check([]string{"--config", file(t, "rooot = 1\n")}, `unknown key "rooot"`)
	check([]string{"--config", file(t, "root = 1\n")}, "root")
	check([]string{"--bip", "172.17.0.0/16"}, "--bip")
	check([]string{"--bip", "fd00::1/64"}, "--bip")
	check([]string{"--default-address-pool", "base=10.0.0.0/8"}, "size")
	check([]string{"--default-address-pool", "base=10.0.0.0/16,size=8"}, "size must be between")
	check([]string{"--default-address-pool", "bass=10.0.0.0/16"}, `unknown key "bass"`)
	check([]string{"--dns", "one.one"}, "one.one")
	check([]string{"--log-level", "loud"}, "loud")
}

func TestHostsThatAreNotServed(t *testing.T) {
	for host, want := range map[string]string{"tcp://0.0.0.0:2375": "needs --tlscacert, --tlscert and --tlskey", "nowhere": "unix://PATH", "fd://": "systemd passed no socket"} {
		if _, err := listen(&config{Hosts: []string{host}, Group: "jackstay"}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("-H %s: %v, want it to say %q", host, err, want)
		}
	}
}
