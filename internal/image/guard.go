package image

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// guard keeps requests from where somebody's registry must not be. A name may
// lead elsewhere between the look and the connection where the libraries do not
// let us choose how they connect.
type guard struct {
	reach model.Reach // nil: anywhere
}

// check refuses a host that is, or whose name stands for, a forbidden address.
func (g guard) check(ctx context.Context, host string) error {
	if g.reach == nil {
		return nil
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil //nolint:nilerr // it leads nowhere, or a proxy knows it
	}
	for _, a := range addrs {
		if g.reach.OffLimits(a) {
			return refusedRegistry(host)
		}
	}
	return nil
}

func refusedRegistry(host string) error {
	return errs.New(errs.Forbidden, "the registry %s is not open to tenants: it is the host's own, on one of its links, or not available; the administrator can pull and push there", host)
}

// proxy is http.ProxyFromEnvironment for what may be asked. The libraries call it
// for every request, so also where a registry sends us.
func (g guard) proxy(target *url.URL) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	if err := g.check(ctx, target.Hostname()); err != nil {
		return nil, err
	}
	return http.ProxyFromEnvironment(&http.Request{URL: target})
}

// dialer refuses forbidden addresses after resolution.
func (g guard) dialer() *net.Dialer {
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); g.reach != nil && (err != nil || g.reach.OffLimits(to.Addr())) {
			return refusedRegistry(address)
		}
		return nil
	}}
}

// client is one whose requests are all looked at.
func (g guard) client() *http.Client {
	if g.reach == nil {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:             func(r *http.Request) (*url.URL, error) { return g.proxy(r.URL) },
		DisableKeepAlives: true,
	}}
}
