package api

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

func (f *fakeEngine) AddNIC(_ context.Context, ref string, r model.NICRequest) (*model.NICView, error) {
	c := f.snap.Containers[f.snap.ContainerNames[ref]]
	if c == nil {
		c = &model.Container{Name: ref}
	}
	return &model.NICView{Container: c, NIC: model.NIC{ID: fakeID("nic"), Kind: model.NICBridge, Name: "eth1", On: r.On, Addrs: r.Addrs}},
		f.call("nicadd", ref, fmt.Sprintf("%+v", r))
}

func (f *fakeEngine) RemoveNIC(_ context.Context, ref, name string) error {
	return f.call("nicrm", ref, name)
}

func (f *fakeEngine) WaitNIC(_ context.Context, ref, name string, within time.Duration) error {
	return f.call("nicwait", ref, name, within.String())
}

func (f *fakeEngine) NICs(ref string) ([]model.NICView, error) {
	var out []model.NICView
	for id, c := range f.snap.Containers {
		if ref == "" || ref == id {
			out = append(out, model.NICView{Container: c, NIC: model.NIC{
				ID: fakeID("nic"), Kind: model.NICBridge, Name: "eth1", On: "br1", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.4.25/24")},
			}})
		}
	}
	return out, nil
}

func (f *fakeEngine) ChangeRoute(_ context.Context, ref, op string, r model.Route) error {
	return f.call("route", ref, op, fmt.Sprintf("%+v", r))
}

func (f *fakeEngine) ChangeRule(_ context.Context, ref, op string, r model.RouteRule) error {
	return f.call("rule", ref, op, fmt.Sprintf("%+v", r))
}

func (f *fakeEngine) Routes(string) ([]string, error) { return []string{}, nil }

func (f *fakeEngine) Rules(string) ([]string, error) { return []string{}, nil }

func (f *fakeEngine) TC(_ context.Context, ref string, words []string) (string, error) {
	return "qdisc", f.call("tc", ref, words)
}
