package engine

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// What a limit may be, in bits a second: below, one full packet takes more than
// a second; above, the kernel's count of what may wait overflows.
const (
	leastRate = 8e3
	mostRate  = 400e9
)

// rateWish is a limit as asked for: RATE, NETWORK=RATE, or several with commas.
type rateWish struct {
	every *uint64 // for every network; nil: as it was
	on    []rateOn
}

type rateOn struct {
	network string // name or ID
	bits    uint64
}

// parseRateWish reads what --net-rate-in and --net-rate-out take.
func parseRateWish(text string) (rateWish, error) {
	var w rateWish
	for _, part := range strings.Split(text, ",") {
		network, rate, named := strings.Cut(part, "=")
		if !named {
			rate = part
		}
		bits, err := parseRate(rate)
		switch {
		case err != nil:
			return w, err
		case !named && w.every != nil:
			return w, errs.New(errs.Invalid, "invalid rate %q: there is more than one for every network", text)
		case !named:
			w.every = &bits
		case network == "" || slices.ContainsFunc(w.on, func(o rateOn) bool { return o.network == network }):
			return w, errs.New(errs.Invalid, "invalid rate %q: give each network once, as NETWORK=RATE", text)
		default:
			w.on = append(w.on, rateOn{network, bits})
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

// apply gives a limit with a wish fulfilled. One for every network takes the
// place of all that were set before. Networks are among those the container is
// on, by ID.
func (w *rateWish) apply(s *model.Snapshot, old model.Rate, container string, networks []string) (model.Rate, error) {
	out := model.Rate{Every: old.Every, On: maps.Clone(old.On)}
	if w.every != nil {
		out = model.Rate{Every: *w.every}
	}
	for _, o := range w.on {
		n, err := findNetwork(s, o.network)
		if err != nil {
			return out, errs.Wrap(errs.Invalid, err)
		}
		if !slices.Contains(networks, n.ID) {
			return out, errs.New(errs.Invalid, "can't limit the rate on network %s: container %s is not connected to it", n.Name, container)
		}
		if out.On == nil {
			out.On = map[string]uint64{}
		}
		out.On[n.ID] = o.bits
	}
	return out, nil
}

// rateWishes are both directions'; nil: as it was.
type rateWishes struct{ in, out *rateWish }

func (w rateWishes) any() bool { return w.in != nil || w.out != nil }

// apply gives the limits of a container with the wishes fulfilled; networks are
// the IDs of those it is on.
func (w rateWishes) apply(s *model.Snapshot, c *model.Container, networks []string) (model.Rates, error) {
	out := c.Rates
	if !w.any() {
		return out, nil
	}
	networks = slices.DeleteFunc(networks, func(id string) bool {
		return s.Networks[id] == nil || s.Networks[id].Driver != model.DriverBridge
	})
	if len(networks) == 0 {
		return out, errs.New(errs.Invalid,
			"can't limit rates of container %s: it has no network of its own (its network mode is %s)", c.Name, c.Host.NetworkMode)
	}
	var err error
	if w.in != nil {
		if out.In, err = w.in.apply(s, out.In, c.Name, networks); err != nil {
			return out, err
		}
	}
	if w.out != nil {
		out.Out, err = w.out.apply(s, out.Out, c.Name, networks)
	}
	return out, err
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

// canLimit refuses limits that the kernel can't set.
func (e *Engine) canLimit(ctx context.Context, r model.Rates) error {
	if !r.Limited() {
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
	rates, err := w.apply(s, c, networksOf(s, c.ID))
	if err != nil {
		return undo, nil, err
	}
	if err := e.canLimit(ctx, rates); err != nil {
		return undo, nil, err
	}
	for _, n := range c.NICs {
		if err := limitable(c, n.Kind, rates); err != nil {
			return undo, nil, err
		}
	}
	words = []string{"net-rate-in", rates.In.Words(s.Networks), "net-rate-out", rates.Out.Words(s.Networks)}
	put := func(r model.Rates) (*model.Snapshot, error) {
		return e.store.Update(changing(c.ID, func(c *model.Container) error { c.Rates = r; return nil }))
	}
	undo = func() {
		if _, err := put(c.Rates); err != nil {
			e.log.Error("a failed change can't be taken back", "container", c.ID, "error", err)
		}
	}
	s, err = put(rates)
	if err != nil || !s.Containers[c.ID].Active {
		return undo, words, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkWithin)
	defer cancel()
	if err := e.network.Wait(ctx, c.ID, s.Revision); err != nil {
		undo()
		return undo, words, fmt.Errorf("limit the rates of container %s: %w", c.Name, err)
	}
	return undo, words, nil
}

// networksOf gives the IDs of the networks a container is on.
func networksOf(s *model.Snapshot, id string) []string {
	var out []string
	for _, ep := range s.ByContainer[id] {
		out = append(out, ep.NetworkID)
	}
	return out
}
