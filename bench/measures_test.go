package main

import (
	"math"
	"testing"
	"time"
)

func TestTrend(t *testing.T) {
	series := func(at func(i int) float64) []time.Duration {
		var all []time.Duration
		for i := range 200 {
			all = append(all, time.Duration(at(i)*float64(time.Millisecond)))
		}
		return all
	}
	for _, c := range []struct {
		name string
		took []time.Duration
		want float64
	}{
		{"flat", series(func(int) float64 { return 60 }), 1},
		{"half as much again", series(func(i int) float64 { return 60 + 30*float64(i)/199 }), 1.5},
		{"flat, with load at the end", series(func(i int) float64 { return 60 + 40*float64(i/180) }), 1},
		{"flat, every third slow", series(func(i int) float64 { return 60 + 20*float64(i%3/2) }), 1},
	} {
		if got := trend(c.took); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f, want %.3f", c.name, got, c.want)
		}
	}
}
