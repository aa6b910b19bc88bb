package extensions

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// sgRule is a rule in the API and in Hyper.sh's files.
type sgRule struct {
	Direction      string `json:"direction,omitempty" yaml:"direction"`
	Protocol       string `json:"protocol" yaml:"protocol"`
	PortRangeMin   int    `json:"port_range_min,omitempty" yaml:"port_range_min"`
	PortRangeMax   int    `json:"port_range_max,omitempty" yaml:"port_range_max"`
	RemoteIPPrefix string `json:"remote_ip_prefix,omitempty" yaml:"remote_ip_prefix"`
	RemoteGroup    string `json:"remote_group,omitempty" yaml:"remote_group"`
}

// sgFile is a group in such a file.
type sgFile struct {
	Name        string   `json:"name" yaml:"name"`
	Description string   `json:"description,omitempty" yaml:"description"`
	Rules       []sgRule `json:"rules" yaml:"rules"`
}

// sg is a group as the API tells it.
type sg struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	Rules       []sgRule  `json:"rules"`
	Containers  []string  `json:"containers"`
}

// readGroup reads a file, or nothing without one. What it does not know is
// refused: a rule that says less than its author meant lets in more.
func readGroup(cmd *cobra.Command, path string) (sgFile, error) {
	g := sgFile{Rules: []sgRule{}}
	if path == "" {
		return g, nil
	}
	var in io.Reader = cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return g, err
		}
		defer f.Close()
		in = f
	}
	d := yaml.NewDecoder(in)
	d.KnownFields(true)
	if err := d.Decode(&g); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return g, fmt.Errorf("read security group from %s: %w", path, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return g, fmt.Errorf("read security group from %s: there is more than one document", path)
	}
	return g, nil
}

func parseRules(texts []string) ([]sgRule, error) {
	out := []sgRule{}
	for _, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// parseRule reads PROTO[:PORTS][:SOURCE]. What begins with a digit and has
// neither a dot nor a slash is ports: a group called 80 is meant by tcp::80.
func parseRule(text string) (sgRule, error) {
	proto, rest, more := strings.Cut(text, ":")
	r := sgRule{Protocol: proto}
	if proto == "" || more && rest == "" {
		return r, fmt.Errorf("invalid rule %q: give it as PROTO[:PORTS][:SOURCE], such as tcp:80 or udp:53:10.0.0.0/8", text)
	}
	ports, source, both := strings.Cut(rest, ":")
	if !both && !looksLikePorts(ports) {
		ports, source = "", rest
	}
	if ports != "" {
		first, last, ranged := strings.Cut(ports, "-")
		if !ranged {
			last = first
		}
		var err1, err2 error
		r.PortRangeMin, err1 = strconv.Atoi(first)
		r.PortRangeMax, err2 = strconv.Atoi(last)
		if err1 != nil || err2 != nil || r.PortRangeMin < 1 || r.PortRangeMax > 65535 || r.PortRangeMax < r.PortRangeMin {
			return r, fmt.Errorf("invalid rule %q: %q is neither a port nor a range of them such as 8000-8010", text, ports)
		}
	}
	if _, err := netip.ParseAddr(source); err == nil || strings.Contains(source, "/") {
		r.RemoteIPPrefix = source
	} else {
		r.RemoteGroup = source
	}
	return r, nil
}

func looksLikePorts(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && !strings.ContainsAny(s, "./")
}
