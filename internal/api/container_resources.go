package api

import (
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/jackstay/jackstay/internal/model"
)

// checkResources refuses limits that Jackstay does not set.
func checkResources(r *container.Resources) error {
	refused := []struct {
		asked bool
		flag  string
	}{
		{len(r.BlkioWeightDevice) > 0, "--blkio-weight-device"},
		{len(r.BlkioDeviceReadBps) > 0, "--device-read-bps"},
		{len(r.BlkioDeviceWriteBps) > 0, "--device-write-bps"},
		{len(r.BlkioDeviceReadIOps) > 0, "--device-read-iops"},
		{len(r.BlkioDeviceWriteIOps) > 0, "--device-write-iops"},
		{r.CPURealtimePeriod != 0, "--cpu-rt-period"},
		{r.CPURealtimeRuntime != 0, "--cpu-rt-runtime"},
		{len(r.DeviceCgroupRules) > 0, "--device-cgroup-rule"},
		{len(r.DeviceRequests) > 0, "--gpus"},
	}
	for _, f := range refused {
		if f.asked {
			return unsupported("%s is not supported yet: leave it out", f.flag)
		}
	}
	if r.CPUCount != 0 || r.CPUPercent != 0 || r.IOMaximumIOps != 0 || r.IOMaximumBandwidth != 0 {
		return unsupported("--cpu-count, --cpu-percent, --io-maxiops and --io-maxbandwidth are for Windows containers")
	}
	return nil
}

// resourcesOf is the limits. A swappiness of -1 and a process limit of 0 or
// less are how clients say that they want none.
func resourcesOf(r *container.Resources) model.Resources {
	out := model.Resources{
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap,
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems, BlkioWeight: r.BlkioWeight,
		OomKillDisable: r.OomKillDisable != nil && *r.OomKillDisable,
	}
	if n := r.MemorySwappiness; n != nil && *n != -1 {
		out.MemorySwappiness = n
	}
	if n := r.PidsLimit; n != nil {
		limit := max(*n, 0)
		out.PidsLimit = &limit
	}
	return out
}

// dockerResources is resourcesOf's way back, for inspect.
func dockerResources(h *model.HostConfig) container.Resources {
	r := &h.Resources
	out := container.Resources{
		CPUShares: r.CPUShares, Memory: r.Memory, NanoCPUs: r.NanoCPUs, CgroupParent: h.CgroupParent,
		BlkioWeight: r.BlkioWeight, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		OomKillDisable: &r.OomKillDisable, PidsLimit: r.PidsLimit,
	}
	for _, d := range h.Devices {
		out.Devices = append(out.Devices, container.DeviceMapping{PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions})
	}
	for _, u := range h.Ulimits {
		out.Ulimits = append(out.Ulimits, &units.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	out.Ulimits, out.Devices = nonNil(out.Ulimits), nonNil(out.Devices)
	return out
}
