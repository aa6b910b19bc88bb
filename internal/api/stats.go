package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// statsPeriod is the time between two samples.
const statsPeriod = time.Second

// containerStats sends a sample each second, or one. A sample carries the CPU
// use of the one before, so that a client can compute a rate; with one-shot it
// does not wait for that.
func (s *Server) containerStats(w *responseWriter, r *request) error {
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	stream := r.flagOr("stream", true)
	oneShot := !stream && r.flag("one-shot") && !r.version.before(41)
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	var before container.StatsResponse
	tick := time.NewTicker(statsPeriod)
	defer tick.Stop()
	for n := 0; ; n++ {
		now, err := s.sample(r.Context(), c)
		if err != nil {
			return err
		}
		now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
		if stream || oneShot || n > 0 || now.Read.IsZero() {
			if err := enc.Encode(now); err != nil || !stream {
				return nil
			}
			w.Flush()
		}
		before = now
		select {
		case <-r.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// sample is the use of a running container; one that does not run has none,
// which Docker writes as a sample of the year 1.
func (s *Server) sample(ctx context.Context, c *model.Container) (container.StatsResponse, error) {
	out := container.StatsResponse{ID: c.ID, Name: "/" + c.Name, OSType: "linux"}
	current := s.engine.Snapshot().Containers[c.ID]
	if current == nil {
		return out, errs.New(errs.NotFound, "No such container: %s", c.ID)
	}
	if !current.State.Running() {
		return out, nil
	}
	m, err := s.engine.ContainerStats(ctx, c.ID)
	if errs.Is(err, errs.Conflict) || errs.Is(err, errs.NotFound) {
		return out, nil // it ended meanwhile
	}
	if err != nil {
		return out, err
	}
	out.Read = m.Read
	out.CPUStats = container.CPUStats{
		CPUUsage:    container.CPUUsage{TotalUsage: m.CPUTotal, UsageInUsermode: m.CPUUser, UsageInKernelmode: m.CPUSys},
		SystemUsage: m.SystemCPU, OnlineCPUs: m.OnlineCPUs,
	}
	out.MemoryStats = container.MemoryStats{Usage: m.MemoryUsage, Limit: m.MemoryLimit, Stats: m.MemoryStats}
	out.PidsStats = container.PidsStats{Current: m.Pids, Limit: m.PidsLimit}
	for _, b := range m.Blkio {
		out.BlkioStats.IoServiceBytesRecursive = append(out.BlkioStats.IoServiceBytesRecursive,
			container.BlkioStatEntry{Major: b.Major, Minor: b.Minor, Op: b.Op, Value: b.Value})
	}
	for _, n := range m.Networks {
		if out.Networks == nil {
			out.Networks = map[string]container.NetworkStats{}
		}
		out.Networks[n.Name] = container.NetworkStats{
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		}
	}
	return out, nil
}
