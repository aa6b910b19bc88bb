package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]uint64{
		"10mbit": 10e6, "10Mbit": 10e6, "1.5gbit": 1500e6, "64kbit": 64e3, "9000": 9000, "9000bit": 9000, "1mbps": 8e6,
		"1kibps": 8192, "10mibit": 10 << 20, "0": 0, "none": 0, "0mbit": 0, " none ": 0, "1kbps": 8e3, "400gbit": 400e9,
	} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "fast", "10mb", "-1mbit", "mbit", "1bit", "7999", "401gbit", "1e300tbit", "1 0mbit", "nan", "inf", "10mbit/s", "10%"} {
		if got, err := parseRate(text); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "invalid rate") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bits := range []uint64{0, 8000, 1e6, 1500e3, 2e9, 12345, 400e9} {
		if got, err := parseRate(model.RateWords(bits)); err != nil || got != bits {
			t.Errorf("%d is written %s and read %d, %v", bits, model.RateWords(bits), got, err)
		}
	}
}

// rates gives a container's limits as inspect shows them.
func (r *rig) rates(id string) string {
	s := r.store.Snapshot()
	c := s.Containers[id]
	return c.Rates.In.Words(s, c) + " / " + c.Rates.Out.Words(s, c)
}

func limits(in, out string) model.UpdateRequest { return model.UpdateRequest{RateIn: in, RateOut: out} }

func TestRates(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	ctx := t.Context()
	dev, _, err := r.CreateNetwork(ctx, model.NetworkRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.CreateNetwork(ctx, model.NetworkRequest{Name: "far"}); err != nil {
		t.Fatal(err)
	}
	labelled := func(in, out string) func(*model.CreateRequest) {
		return func(q *model.CreateRequest) {
			q.Config.Labels = map[string]string{}
			if in != "" {
				q.Config.Labels["com.jackstay.net-rate-in"] = in
			}
			if out != "" {
				q.Config.Labels["com.jackstay.net-rate-out"] = out
			}
		}
	}
	web := r.runContainer(t, "web", "serve", onNetwork("dev"), labelled("10mbit", "dev=1mbps"))
	off := r.create(t, "off", "serve", labelled("", "1gbit"))
	if got := r.rates(web) + ", " + r.rates(off); got != "10mbit / none,dev=8mbit, none / 1gbit" {
		t.Errorf("at create: %s", got)
	}
	for _, step := range []struct {
		u    model.UpdateRequest
		want string
	}{
		{limits("20mbit", ""), "20mbit / none,dev=8mbit"},
		{limits("", "5mbit"), "20mbit / 5mbit"}, // one for every network replaces those of some
		{limits("dev=1mbit", dev+"=none"), "20mbit,dev=1mbit / 5mbit,dev=none"},
		{limits("3mbit,dev=2mbit", ""), "3mbit,dev=2mbit / 5mbit,dev=none"},
		{model.UpdateRequest{Resources: model.Resources{Memory: 1 << 25}}, "3mbit,dev=2mbit / 5mbit,dev=none"},
		{limits("0", "none"), "none / none"},
	} {
		if _, err := r.UpdateContainer(ctx, "web", step.u); err != nil {
			t.Errorf("%+v: %v", step.u, err)
		}
		if got := r.rates(web); got != step.want {
			t.Errorf("%+v: %s, want %s", step.u, got, step.want)
		}
	}
	if _, err := r.UpdateContainer(ctx, "off", limits("2mbit", "")); err != nil || r.rates(off) != "2mbit / 1gbit" {
		t.Errorf("a stopped one: %v, %s", err, r.rates(off))
	}

	evs, err := r.Events(ctx, time.Unix(1, 0), r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for ev := range evs {
		if ev.Action != "update" {
			continue
		}
		in, hasIn := ev.Attributes["net-rate-in"]
		out, hasOut := ev.Attributes["net-rate-out"]
		said = append(said, fmt.Sprint(in, hasIn, " ", out, hasOut))
	}
	want := []string{"20mbittrue false", "false 5mbittrue", "20mbit,dev=1mbittrue 5mbit,dev=nonetrue", "3mbit,dev=2mbittrue false", "false false", "nonetrue nonetrue", "2mbittrue false"}
	if !slices.Equal(said, want) {
		t.Errorf("events tell %q, want %q", said, want)
	}

	r.runContainer(t, "hosted", "serve", onNetwork("host"))
	r.runContainer(t, "joined", "serve", onNetwork("container:web"))
	r.runContainer(t, "bare", "serve", onNetwork("none"))
	before := r.rates(web)
	for _, tc := range []struct {
		ref  string
		u    model.UpdateRequest
		kind errs.Kind
		want string
	}{
		{"nobody", limits("1mbit", ""), errs.NotFound, "No such container: nobody"},
		{"web", limits("1mb", ""), errs.Invalid, `invalid rate "1mb"`},
		{"web", limits("1mbit,2mbit", ""), errs.Invalid, "more than one for every interface"},
		{"web", limits("dev=1mbit,dev=2mbit", ""), errs.Invalid, "give each network or interface once"},
		{"web", limits("=1mbit", ""), errs.Invalid, "give each network or interface once"},
		{"web", limits("1mbit", "nosuch=1mbit"), errs.Invalid, "container web has no network or interface of that name: it is on dev and has the interfaces eth0"},
		{"web", limits("1mbit", "far=1mbit"), errs.Invalid, "container web is not connected to it"},
		{"hosted", limits("1mbit", ""), errs.Invalid, "can't limit rates of container hosted: it has no network of its own (its network mode is host)"},
		{"joined", limits("1mbit", ""), errs.Invalid, "can't limit rates of container joined"},
		{"bare", limits("1mbit", ""), errs.Invalid, "its network mode is none"},
	} {
		if _, err := r.UpdateContainer(ctx, tc.ref, tc.u); !errs.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %+v: %v, want %s", tc.ref, tc.u, err, tc.want)
		}
	}
	for mode, want := range map[string]string{"host": "network mode is host", "none": "network mode is none", "container:web": "no network of its own"} {
		q := model.CreateRequest{Image: "img"}
		onNetwork(mode)(&q)
		labelled("1mbit", "")(&q)
		if _, _, err := r.CreateContainer(ctx, q); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("create --net %s: %v", mode, err)
		}
	}
	w.noRates = errs.New(errs.Unavailable, "this kernel has no token buckets")
	q := model.CreateRequest{Image: "img"}
	labelled("1mbit", "")(&q)
	if _, _, err := r.CreateContainer(ctx, q); !errs.Is(err, errs.Unavailable) {
		t.Errorf("create without the kernel's help: %v", err)
	}
	if _, err := r.UpdateContainer(ctx, "web", limits("1mbit", "")); !errs.Is(err, errs.Unavailable) || r.rates(web) != before {
		t.Errorf("update without the kernel's help: %v, %s", err, r.rates(web))
	}
	if _, err := r.UpdateContainer(ctx, "web", limits("none", "none")); err != nil {
		t.Errorf("lifting without the kernel's help: %v", err)
	}
}
