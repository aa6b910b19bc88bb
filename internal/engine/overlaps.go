package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

const (
	// routesQuiet is the least time between two looks at the host's routes.
	routesQuiet = 300 * time.Millisecond
	// routesAgain is when they are looked at although nothing was signalled.
	routesAgain = 30 * time.Second
)

// overlaps are the routes of the host that lead where a network of ours is:
// those that a VPN brings, mostly, as subnets are picked beside the routes that
// are there.
type overlaps struct {
	poke chan struct{}

	mu  sync.Mutex
	now map[model.Overlap]struct{}
}

func newOverlaps() *overlaps { return &overlaps{poke: make(chan struct{}, 1)} }

// look has the routes compared with the networks soon.
func (o *overlaps) look() {
	select {
	case o.poke <- struct{}{}:
	default:
	}
}

// replace makes these the overlaps and tells which have come and gone.
func (o *overlaps) replace(now map[model.Overlap]struct{}) (came, went []model.Overlap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for x := range now {
		if _, known := o.now[x]; !known {
			came = append(came, x)
		}
	}
	for x := range o.now {
		if _, still := now[x]; !still {
			went = append(went, x)
		}
	}
	o.now = now
	slices.SortFunc(came, compareOverlaps)
	slices.SortFunc(went, compareOverlaps)
	return came, went
}

func (o *overlaps) list() []model.Overlap {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Keys(o.now), compareOverlaps)
}

func compareOverlaps(a, b model.Overlap) int {
	return cmp.Or(a.Subnet.Compare(b.Subnet), a.Route.Compare(b.Route), cmp.Compare(a.Device, b.Device))
}

// Overlaps lists the routes of the host that lead where a network is; of all
// networks if id is empty.
func (e *Engine) Overlaps(id string) []model.Overlap {
	s := e.store.Snapshot()
	return slices.DeleteFunc(e.overlaps.list(), func(o model.Overlap) bool {
		return id != "" && o.NetworkID != id || s.Networks[o.NetworkID] == nil
	})
}

// followRoutes keeps the overlaps until ctx ends, with an event for each that
// comes or goes.
func (e *Engine) followRoutes(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	moved, err := e.host.WatchRoutes(ctx, e.routeMatters)
	if err != nil {
		e.log.Error("routes that overlap a network are seen late", "error", err)
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-e.overlaps.poke:
		case <-again.C:
		}
		if err := e.lookAtRoutes(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("the host's routes can't be read", "error", err)
		}
		again.Reset(routesAgain)
		select {
		case <-ctx.Done():
		case <-time.After(routesQuiet):
		}
	}
}

// routeMatters tells whether a route that came or went may change the overlaps.
func (e *Engine) routeMatters(route netip.Prefix) bool {
	if !route.IsValid() {
		return len(e.overlaps.list()) > 0
	}
	return slices.ContainsFunc(subnetsOf(e.store.Snapshot()), route.Overlaps)
}

// usualBridge is how bridges of ours are called: one may just be going with its
// network, while another network has its subnet already.
var usualBridge = regexp.MustCompile(`^jk-[0-9a-f]{12}$`)

func (e *Engine) lookAtRoutes(ctx context.Context) error {
	routes, err := e.host.RouteDevices(ctx)
	if err != nil {
		return err
	}
	s := e.store.Snapshot()
	now := map[model.Overlap]struct{}{}
	bridges := map[string]bool{}
	for _, n := range s.Networks {
		bridges[n.Bridge] = true
	}
	for _, n := range s.Networks {
		for _, sub := range n.Subnets {
			for route, device := range routes {
				if route.Overlaps(sub.Prefix) && !bridges[device] && !usualBridge.MatchString(device) {
					now[model.Overlap{NetworkID: n.ID, Subnet: sub.Prefix, Route: route, Device: device}] = struct{}{}
				}
			}
		}
	}
	came, went := e.overlaps.replace(now)
	for _, o := range came {
		e.log.Warn("a route of the host overlaps a network", "network", s.Networks[o.NetworkID].Name, "subnet", o.Subnet, "route", o.Route, "device", o.Device)
		e.overlapEvent(s.Networks[o.NetworkID], "overlap", o)
	}
	for _, o := range went {
		if n := s.Networks[o.NetworkID]; n != nil { // a removed network overlaps nothing
			e.log.Info("a route of the host overlaps a network no more", "network", n.Name, "subnet", o.Subnet, "route", o.Route, "device", o.Device)
			e.overlapEvent(n, "overlap-gone", o)
		}
	}
	return nil
}

func (e *Engine) overlapEvent(n *model.Network, action string, o model.Overlap) {
	e.networkEvent(n, action, "subnet", o.Subnet.String(), "route", o.Route.String(), "device", o.Device)
}

// overlapWords say what an overlap means: the kernel takes the longest prefix
// (RFC 1812 section 5.2.4.3).
func (e *Engine) overlapWords(o model.Overlap) string {
	name := o.NetworkID
	if n := e.store.Snapshot().Networks[o.NetworkID]; n != nil {
		name = n.Name
	}
	by := ""
	if o.Device != "" {
		by = " by " + o.Device
	}
	if o.Route.Bits() >= o.Subnet.Bits() {
		return fmt.Sprintf("network %s (%s): the host has a route for %s%s: containers with such addresses may not be reached", name, o.Subnet, o.Route, by)
	}
	return fmt.Sprintf("network %s (%s): the host has a route for %s%s: what has the network's addresses there is not reached", name, o.Subnet, o.Route, by)
}
