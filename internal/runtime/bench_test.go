//go:build linux

package runtime

import (
	"os"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// BenchmarkRun times the phases of a container's life, in milliseconds each:
// go test -run ^$ -bench Run ./internal/runtime/
func BenchmarkRun(b *testing.B) {
	for name, change := range map[string]func(*model.Container){
		"default":    func(*model.Container) {},
		"unconfined": func(c *model.Container) { c.Host.SecurityOpt = []string{"seccomp=unconfined"} },
	} {
		b.Run(name, func(b *testing.B) { benchmarkRun(b, change) })
	}
}

func benchmarkRun(b *testing.B, change func(*model.Container)) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: runs containers")
	}
	h := newHostAt(b, b.TempDir())
	var create, start, end, remove time.Duration
	for b.Loop() {
		spec := h.command([]string{"true"}, change)
		t0 := time.Now()
		if _, err := h.r.Create(h.ctx, spec); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := h.r.Start(h.ctx, spec.Container.ID); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		<-h.r.Exits()
		t3 := time.Now()
		if err := h.r.Delete(h.ctx, spec.Container.ID); err != nil {
			b.Fatal(err)
		}
		create, start, end, remove = create+t1.Sub(t0), start+t2.Sub(t1), end+t3.Sub(t2), remove+time.Since(t3)
	}
	for unit, d := range map[string]time.Duration{"create-ms": create, "start-ms": start, "exit-ms": end, "delete-ms": remove} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), unit)
	}
}
