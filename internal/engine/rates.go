package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// What a limit may be, in bits a second: below, one full packet takes more than
// a second; above, the kernel's count of what may wait overflows.
const (
	leastRate = 8e3
	mostRate  = 400e9
)

// rateWish is a limit as asked for: RATE, NAME=RATE, or several with commas.
type rateWish struct {
	every *uint64 // for every interface; nil: as it was
	on    []rateOn
}

type rateOn struct {
	name string // of a network, or its ID, or of an interface
	bits uint64
}

// parseRateWish reads what --net-rate-in and --net-rate-out take.
func parseRateWish(text string) (rateWish, error) {
	var w rateWish
	for _, part := range strings.Split(text, ",") {
		name, rate, named := strings.Cut(part, "=")
		if !named {
			rate = part
		}
		bits, err := parseRate(rate)
		switch {
		case err != nil:
			return w, err
		case !named && w.every != nil:
			return w, errs.New(errs.Invalid, "invalid rate %q: there is more than one for every interface", text)
		case !named:
			w.every = &bits
		case name == "" || slices.ContainsFunc(w.on, func(o rateOn) bool { return o.name == name }):
			return w, errs.New(errs.Invalid, "invalid rate %q: give each network or interface once, as NAME=RATE", text)
		default:
			w.on = append(w.on, rateOn{name, bits})
		}
	}
	return w, nil
}

// rateUnits are tc(8)'s, bits and bytes a second.
var rateUnits = map[string]float64{
	"": 1, "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12,
	"kibit": 1 << 10, "mibit": 1 << 20, "gibit": 1 << 30,
	"bps": 8, "kbps": 8e3, "mbps": 8e6, "gbps": 8e9,
	"kibps": 8 << 10, "mibps": 8 << 20, "gibps": 8 << 30,
}

// parseRate reads a rate in tc(8)'s units; 0 and none are no limit.
func parseRate(text string) (uint64, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "none" {
		return 0, nil
	}
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	number, err := strconv.ParseFloat(digits, 64)
	unit, known := rateUnits[text[len(digits):]]
	if err != nil || !known || number < 0 || math.IsInf(number, 0) || math.IsNaN(number) {
		return 0, errs.New(errs.Invalid,
			"invalid rate %q: give a number with bit, kbit, mbit or gbit (bits a second) or bps, kbps, mbps or gbps (bytes), such as 10mbit, or none", text)
	}
	bits := math.Round(number * unit)
	if bits != 0 && (bits < leastRate || bits > mostRate) {
		return 0, errs.New(errs.Invalid, "invalid rate %q: it must be from %s to %s, or none",
			text, model.RateWords(leastRate), model.RateWords(mostRate))
	}
	return uint64(bits), nil
}

// apply gives a limit with a wish fulfilled, for a container with these
// interfaces. One for every interface takes the place of all that were set before.
func (w *rateWish) apply(s *model.Snapshot, old model.Rate, c *model.Container, nics []model.NICView) (model.Rate, error) {
	out := old
	if w.every != nil {
		out = model.Rate{Every: *w.every}
	}
	for _, o := range w.on {
		id, err := limitedID(s, c, nics, o.name)
		if err != nil {
			return out, err
		}
		out = out.With(id, o.bits)
	}
	return out, nil
}

// limitedID finds what NAME=RATE names: a network that the container is on, by
// its name; an interface; or a network by its ID.
func limitedID(s *model.Snapshot, c *model.Container, nics []model.NICView, name string) (string, error) {
	n, err := findNetwork(s, name)
	on := err == nil && slices.ContainsFunc(nics, func(v model.NICView) bool { return v.Network != nil && v.Network.ID == n.ID })
	if on && n.Name == name {
		return n.ID, nil
	}
	if at := slices.IndexFunc(nics, func(v model.NICView) bool { return v.NIC.Name == name }); at >= 0 {
		return nics[at].NIC.ID, nil
	}
	if on {
		return n.ID, nil
	}
	var networks, interfaces []string
	for _, v := range nics {
		interfaces = append(interfaces, v.NIC.Name)
		if v.Network != nil && !slices.Contains(networks, v.Network.Name) {
			networks = append(networks, v.Network.Name)
		}
	}
	has := fmt.Sprintf("it has the interfaces %s", strings.Join(interfaces, ", "))
	if len(networks) > 0 {
		has = fmt.Sprintf("it is on %s and has the interfaces %s", strings.Join(networks, ", "), strings.Join(interfaces, ", "))
	}
	if err == nil {
		return "", errs.New(errs.Invalid, "can't limit the rate on network %s: container %s is not connected to it: %s", n.Name, c.Name, has)
	}
	return "", errs.New(errs.Invalid, "can't limit the rate on %s: container %s has no network or interface of that name: %s", name, c.Name, has)
}

// rateWishes are both directions'; nil: as it was.
type rateWishes struct{ in, out *rateWish }

func (w rateWishes) any() bool { return w.in != nil || w.out != nil }

// limited tells whether they ask for any limit.
func (w rateWishes) limited() bool {
	for _, d := range [...]*rateWish{w.in, w.out} {
		if d != nil && (d.every != nil && *d.every > 0 || slices.ContainsFunc(d.on, func(o rateOn) bool { return o.bits > 0 })) {
			return true
		}
	}
	return false
}

// apply gives the limits of a container with the wishes fulfilled.
func (w rateWishes) apply(s *model.Snapshot, c *model.Container) (model.Rates, error) {
	out := c.Rates
	if !w.any() {
		return out, nil
	}
	nics := NICsOf(s, c)
	if len(nics) == 0 {
		return out, errs.New(errs.Invalid,
			"can't limit rates of container %s: it has no network of its own (its network mode is %s), nor another interface", c.Name, c.Host.NetworkMode)
	}
	var err error
	if w.in != nil {
		if out.In, err = w.in.apply(s, out.In, c, nics); err != nil {
			return out, err
		}
	}
	if w.out != nil {
		if out.Out, err = w.out.apply(s, out.Out, c, nics); err != nil {
			return out, err
		}
	}
	for i := range nics {
		if err := limitable(c, &nics[i].NIC, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// limitable refuses limits of an interface that can't have any.
func limitable(c *model.Container, n *model.NIC, r model.Rates) error {
	if !limitsOf(r, n.ID) {
		return nil
	}
	why := unlimitable(c, n)
	if why == "" {
		return nil
	}
	if r.In.On[n.ID] > 0 || r.Out.On[n.ID] > 0 {
		return errs.New(errs.Conflict, "the rate of interface %s of container %s can't be limited: %s", n.Name, c.Name, why)
	}
	return errs.New(errs.Conflict, "container %s is to be limited (--net-rate-in, --net-rate-out), which its interface %s can't be: %s; or leave it out (update with %s=none, or nic add with none)",
		c.Name, n.Name, why, n.Name)
}

func limitsOf(r model.Rates, id string) bool { return r.In.For(id) != 0 || r.Out.For(id) != 0 }

// unlimitable says why an interface can't be limited; empty: it can. One without
// an end on the host is limited inside.
func unlimitable(c *model.Container, n *model.NIC) string {
	switch {
	case n.Kind.HostEnd():
		return ""
	case n.Kind == model.NICDummy:
		return "nothing passes through a dummy"
	case administersNetwork(&c.Host):
		return fmt.Sprintf("a %s has no end on the host, and a limit inside could be lifted by the container, which has CAP_NET_ADMIN: put the NIC on a bridge", n.Kind)
	case slices.ContainsFunc(c.TC, func(line []string) bool { return tcDevice(line) == n.Name }):
		return fmt.Sprintf("`jackstay tc` was used on it, where the limit of a %s would be: take that back (jackstay tc %s qdisc del dev %s root)", n.Kind, c.Name, n.Name)
	}
	return ""
}

// administersNetwork tells whether a container's programs may change its
// interfaces.
func administersNetwork(h *model.HostConfig) bool {
	has := func(list []string, names ...string) bool {
		return slices.ContainsFunc(list, func(c string) bool {
			return slices.Contains(names, strings.TrimPrefix(strings.ToUpper(c), "CAP_"))
		})
	}
	return h.Privileged || has(h.CapAdd, "NET_ADMIN", "ALL") && !has(h.CapDrop, "NET_ADMIN")
}

// parseRateWishes reads those of an update.
func parseRateWishes(u model.UpdateRequest) (rateWishes, error) {
	var w rateWishes
	for _, d := range []struct {
		text string
		wish **rateWish
	}{{u.RateIn, &w.in}, {u.RateOut, &w.out}} {
		if d.text == "" {
			continue
		}
		wish, err := parseRateWish(d.text)
		if err != nil {
			return w, err
		}
		*d.wish = &wish
	}
	return w, nil
}

// canLimit refuses limits, if there are to be any, that the kernel can't set.
func (e *Engine) canLimit(ctx context.Context, limited bool) error {
	if !limited {
		return nil
	}
	return e.host.CanLimitRates(ctx)
}

// updateRates changes a container's limits; the caller holds its lock. On a
// running one they are in force when it returns, and connections go on; or
// nothing is changed. It gives what takes the change back, and its words for an
// event.
func (e *Engine) updateRates(ctx context.Context, c *model.Container, w rateWishes) (undo func(), words []string, err error) {
	undo = func() {}
	if !w.any() {
		return undo, nil, nil
	}
	s := e.store.Snapshot()
	rates, err := w.apply(s, c)
	if err != nil {
		return undo, nil, err
	}
	if err := e.canLimit(ctx, rates.Limited()); err != nil {
		return undo, nil, err
	}
	if w.in != nil {
		words = append(words, "net-rate-in", rates.In.Words(s, c))
	}
	if w.out != nil {
		words = append(words, "net-rate-out", rates.Out.Words(s, c))
	}
	put := func(r model.Rates) func(*store.Tx) error {
		return changing(c.ID, func(c *model.Container) error { c.Rates = r; return nil })
	}
	undo = func() {
		if _, err := e.insist(put(c.Rates)); err != nil {
			e.log.Error("a failed change can't be taken back", "container", c.ID, "error", err)
		}
	}
	if s, err = e.store.Update(put(rates)); err != nil {
		return undo, words, err
	}
	err = e.orTakeBack(ctx, s, effect{doing: "limit the rates of container " + c.Name, of: []string{c.ID}}, put(c.Rates))
	if err != nil {
		return undo, words, err
	}
	return undo, words, nil
}
