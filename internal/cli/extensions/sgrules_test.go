package extensions

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]sgRule{
		"tcp":                  {Protocol: "tcp"},
		"tcp:80":               {Protocol: "tcp", PortRangeMin: 80, PortRangeMax: 80},
		"tcp:80-90":            {Protocol: "tcp", PortRangeMin: 80, PortRangeMax: 90},
		"tcp:80-90:10.0.0.0/8": {Protocol: "tcp", PortRangeMin: 80, PortRangeMax: 90, RemoteIPPrefix: "10.0.0.0/8"},
		"udp:53:192.0.2.1":     {Protocol: "udp", PortRangeMin: 53, PortRangeMax: 53, RemoteIPPrefix: "192.0.2.1"},
		"udp:53:web":           {Protocol: "udp", PortRangeMin: 53, PortRangeMax: 53, RemoteGroup: "web"},
		"tcp:10.0.0.0/8":       {Protocol: "tcp", RemoteIPPrefix: "10.0.0.0/8"},
		"icmp:web":             {Protocol: "icmp", RemoteGroup: "web"},
		"any::web":             {Protocol: "any", RemoteGroup: "web"},
		"tcp::80":              {Protocol: "tcp", RemoteGroup: "80"},
		"tcp:80:2001:db8::/32": {Protocol: "tcp", PortRangeMin: 80, PortRangeMax: 80, RemoteIPPrefix: "2001:db8::/32"},
	} {
		if got, err := parseRule(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":80", "tcp:", "tcp:80-", "tcp:90-80", "tcp:0", "tcp:70000", "tcp:80x:web", "tcp:web:80"} {
		if r, err := parseRule(text); err == nil || !strings.HasPrefix(err.Error(), "invalid rule ") {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

func TestReadGroup(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "group.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := sgFile{Name: "web", Description: "the front", Rules: []sgRule{
		{Direction: "ingress", Protocol: "tcp", PortRangeMin: 80, PortRangeMax: 90, RemoteIPPrefix: "0.0.0.0/0"}, {Protocol: "any", RemoteGroup: "admin"},
	}}
	const yml = `
name: web
description: the front
rules:
  - direction: ingress
    protocol: tcp
    port_range_min: 80
    port_range_max: 90
    remote_ip_prefix: 0.0.0.0/0
  - protocol: any
    remote_group: admin
`
	const json = `{"name":"web","description":"the front","rules":[{"direction":"ingress","protocol":"tcp","port_range_min":80,"port_range_max":90,
		"remote_ip_prefix":"0.0.0.0/0"},{"protocol":"any","remote_group":"admin"}]}`
	for _, text := range []string{yml, json} {
		if got, err := readGroup(&cobra.Command{}, write(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	stdin := &cobra.Command{}
	stdin.SetIn(strings.NewReader(yml))
	if got, err := readGroup(stdin, "-"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("from the standard input: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"":                                    "it is empty",
		"name: web\nport: 80":                 "field port not found",
		"rules:\n- protocol: tcp\n  ports: 1": "field ports not found",
		"name: a\n---\nname: b":               "more than one document",
		"rules: yes":                          "cannot unmarshal",
	} {
		if _, err := readGroup(&cobra.Command{}, write(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
