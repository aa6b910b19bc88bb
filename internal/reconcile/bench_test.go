package reconcile_test

import (
	"fmt"
	"testing"

	"github.com/jackstay/jackstay/internal/kernel/fake"
)

// One container more, and gone again, beside a thousand: two waits. The plan
// is made anew each time, so that every value is compared.
func BenchmarkStartAndStopBesideThousand(b *testing.B) {
	var boxes []box
	for n := range 1000 {
		boxes = append(boxes, box{fmt.Sprint("c", n), "a", []uint16{uint16(10000 + n)}})
	}
	host, src := fake.New(), newSource()
	g := start(b, host, src)
	without := world(boxes...)
	with := world(append(boxes, box{"c1000", "a", []uint16{9000}})...)
	rev := src.set(without)
	for _, x := range boxes {
		g.wait(x.id, rev)
	}
	if err := g.resync(); err != nil {
		b.Fatal(err)
	}
	host.Journal()
	b.ReportAllocs()
	for b.Loop() {
		g.wait("c1000", src.set(with))
		g.wait("c1000", src.set(without))
	}
}
