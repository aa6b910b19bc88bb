package engine

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Options of the bridge driver, as Docker names them.
const (
	optBridgeName = "com.docker.network.bridge.name"
	optMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	optICC        = "com.docker.network.bridge.enable_icc"
	optHostIP     = "com.docker.network.bridge.host_binding_ipv4"
	optMTU        = "com.docker.network.driver.mtu"
	// optPolicy is ours: open, the default, or deny.
	optPolicy = optionPrefix + "policy"
)

// networkOf makes the record of a network request, without its subnets.
func networkOf(req model.NetworkRequest) (*model.Network, error) {
	if err := checkNetworkRequest(req); err != nil {
		return nil, err
	}
	n := &model.Network{
		ID: alloc.ID(), Name: req.Name, Driver: model.DriverBridge, Scope: "local",
		Internal: req.Internal, Attachable: req.Attachable, EnableIPv4: true, EnableIPv6: wantsIPv6(req),
		Labels: maps.Clone(req.Labels), Options: maps.Clone(req.Options),
		Masquerade: !req.Internal, HostIP: netip.IPv4Unspecified(),
	}
	n.Bridge = "jk-" + n.ID[:alloc.ShortID]
	if icc, policy := req.Options[optICC], req.Options[optPolicy]; icc != "" && policy != "" {
		return nil, errs.New(errs.Invalid, "options %s=%s and %s=%s of network %s say the same thing twice: give one of them", optICC, icc, optPolicy, policy, req.Name)
	}
	for _, k := range slices.Sorted(maps.Keys(req.Options)) {
		if err := setOption(n, k, req.Options[k]); err != nil {
			return nil, err
		}
	}
	if n.EnableIPv6 && n.MTU != 0 && n.MTU < minIPv6MTU {
		return nil, errs.New(errs.Invalid, "invalid option %s=%d of network %s: IPv6 needs %d at least", optMTU, n.MTU, n.Name, minIPv6MTU)
	}
	return n, nil
}

// minIPv6MTU is the least that every link carries (RFC 8200 section 5); the
// kernel turns IPv6 off on one with less.
const minIPv6MTU = 1280

func checkNetworkRequest(req model.NetworkRequest) error {
	ok, _ := regexp.MatchString(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`, req.Name)
	switch {
	case strings.TrimSpace(req.Name) == "":
		return errs.New(errs.Invalid, "invalid name: name is empty")
	case predefined(req.Name):
		return errs.New(errs.Forbidden, "operation is not permitted on predefined %s network", req.Name)
	case strings.HasPrefix(req.Name, "container:"):
		return errs.New(errs.Invalid, "invalid network name %q: it reads as a network mode", req.Name)
	case !ok:
		return errs.New(errs.Invalid, "invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", req.Name)
	}
	for label := range req.Labels {
		if name, ours := strings.CutPrefix(label, optionPrefix); ours { // on containers such labels are options; here they would do nothing
			return errs.New(errs.Invalid, "label %s of network %s does nothing: options of a network are given as -o %s%s=…", label, req.Name, optionPrefix, name)
		}
	}
	switch req.Driver {
	case "", "default", model.DriverBridge:
	case model.DriverHost, model.DriverNull:
		return errs.New(errs.Forbidden, "only one instance of %q network is allowed", req.Driver)
	case "overlay", "macvlan", "ipvlan":
		return errs.New(errs.NotImplemented, "network driver %s is not supported yet: the driver bridge is", req.Driver)
	default:
		return errs.New(errs.NotFound, "could not find plugin %s in v1 plugin registry: plugin not found: the driver bridge is supported", req.Driver)
	}
	if req.IPAMDriver != "" && req.IPAMDriver != "default" {
		return errs.New(errs.NotFound, "could not find plugin %s in v1 plugin registry: plugin not found: the ipam driver default is supported", req.IPAMDriver)
	}
	if req.EnableIPv4 != nil && !*req.EnableIPv4 {
		return errs.New(errs.NotImplemented, "a network without IPv4 is not supported yet")
	}
	return checkFamilies(req)
}

// checkFamilies refuses more than one subnet of a family, and one of IPv6 on a
// network that is not to have it.
func checkFamilies(req model.NetworkRequest) error {
	count := map[bool]int{}
	for _, sub := range req.Subnets {
		v6 := strings.Contains(sub.Prefix, ":")
		if v6 && !wantsIPv6(req) {
			return errs.New(errs.Invalid, "invalid subnet %s: the network is not to have IPv6: add --ipv6", sub.Prefix)
		}
		if count[v6]++; count[v6] > 1 {
			return errs.New(errs.Invalid, "bridge driver doesn't support multiple subnets: give one of IPv4 and, with --ipv6, one of IPv6")
		}
	}
	return nil
}

func wantsIPv6(req model.NetworkRequest) bool { return req.EnableIPv6 != nil && *req.EnableIPv6 }

// setOption takes one --opt; what it does not know is refused.
func setOption(n *model.Network, k, v string) error {
	switch k {
	case optBridgeName:
		if !validLinkName(v) {
			return errs.New(errs.Invalid, "invalid option %s=%q: a bridge's name has at most 15 characters of A-Z, a-z, 0-9, '_', '-' and '.', and is not all or default", k, v)
		}
		n.Bridge = v
	case optMasquerade:
		b, err := parseBool(k, v)
		if err != nil {
			return err
		}
		n.Masquerade = b && !n.Internal
	case optICC:
		b, err := parseBool(k, v)
		if err != nil {
			return err
		}
		n.Deny = !b
	case optPolicy:
		if v != "open" && v != "deny" {
			return errs.New(errs.Invalid, "invalid option %s=%q: it is open (containers of the network reach each other) or deny (only along links)", k, v)
		}
		n.Deny = v == "deny"
	case optHostIP:
		a, err := netip.ParseAddr(v)
		if err != nil || !a.Is4() {
			return errs.New(errs.Invalid, "invalid option %s=%q: it must be an IPv4 address", k, v)
		}
		n.HostIP = a
	case optMTU:
		mtu, err := strconv.Atoi(v)
		if err != nil || mtu != 0 && (mtu < 68 || mtu > 65535) { // RFC 791: every host takes 68 octets
			return errs.New(errs.Invalid, "invalid option %s=%q: it must be a number from 68 to 65535", k, v)
		}
		n.MTU = mtu
	default:
		return errs.New(errs.Invalid, "option %s of network %s is not supported: the bridge driver takes %s",
			k, n.Name, strings.Join([]string{optBridgeName, optMasquerade, optICC, optHostIP, optMTU, optPolicy}, ", "))
	}
	return nil
}

func parseBool(k, v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errs.New(errs.Invalid, "invalid option %s=%q: it must be true or false", k, v)
	}
	return b, nil
}

// validLinkName is narrower than the kernel's dev_valid_name (net/core/dev.c):
// the name also stands in firewall rules, where quotes and '*' have a meaning,
// and below /proc/sys/net, where all and default are the kernel's own.
func validLinkName(s string) bool {
	return linkName.MatchString(s) && s != "." && s != ".." && s != "all" && s != "default"
}

var linkName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)
