//go:build linux

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer/devices"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// setDevices adds --device, or every device of the host for --privileged, to
// Docker's rules.
func setDevices(spec *specs.Spec, h model.HostConfig) error {
	rules := defaultDeviceRules()
	if h.Privileged {
		rules = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		all, err := devices.HostDevices()
		if err != nil {
			return fmt.Errorf("host devices: %w", err)
		}
		for _, d := range all {
			spec.Linux.Devices = append(spec.Linux.Devices, ociDevice(d, d.Path))
		}
	}
	for _, asked := range h.Devices {
		if h.Privileged && (asked.Container == "" || asked.Container == asked.Host) {
			continue // it is there already
		}
		found, err := devicesAt(asked)
		if err != nil {
			return err
		}
		for _, d := range found {
			spec.Linux.Devices = append(spec.Linux.Devices, d.device)
			if !h.Privileged {
				rules = append(rules, d.rule)
			}
		}
	}
	spec.Linux.Resources.Devices = rules
	return nil
}

type grantedDevice struct {
	device specs.LinuxDevice
	rule   specs.LinuxDeviceCgroup
}

// devicesAt resolves one --device: a device, a symbolic link to one, or a
// directory of devices.
func devicesAt(asked model.Device) ([]grantedDevice, error) {
	access := asked.Permissions
	if access == "" {
		access = "rwm"
	}
	if strings.Trim(access, "rwm") != "" {
		return nil, errs.New(errs.Invalid, "invalid device mode: %s", access)
	}
	inside := asked.Container
	if inside == "" {
		inside = asked.Host
	}
	host, err := filepath.EvalSymlinks(asked.Host)
	if err != nil {
		return nil, errs.New(errs.Invalid, "error gathering device information while adding custom device %q: no such file or directory", asked.Host)
	}
	one, err := devices.DeviceFromPath(host, access)
	found := []*devices.Device{one}
	if errors.Is(err, devices.ErrNotADevice) {
		if info, statErr := os.Stat(host); statErr == nil && info.IsDir() {
			found, err = devices.GetDevices(host)
		}
	}
	if err != nil || len(found) == 0 {
		return nil, errs.New(errs.Invalid, "error gathering device information while adding custom device %q: not a device node", asked.Host)
	}
	var out []grantedDevice
	for _, d := range found {
		oci := ociDevice(d, inside+strings.TrimPrefix(d.Path, host))
		out = append(out, grantedDevice{oci, specs.LinuxDeviceCgroup{
			Allow: true, Type: oci.Type, Major: &oci.Major, Minor: &oci.Minor, Access: access,
		}})
	}
	return out, nil
}

func ociDevice(d *devices.Device, inside string) specs.LinuxDevice {
	mode, uid, gid := d.FileMode, d.Uid, d.Gid
	return specs.LinuxDevice{
		Path: inside, Type: string(d.Type), Major: d.Major, Minor: d.Minor, FileMode: &mode, UID: &uid, GID: &gid,
	}
}

// defaultDeviceRules are Docker's: nothing but zero, null, urandom, random,
// tty and console, and fuse denied by name. runc adds what /dev needs.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	rule := func(allow bool, major, minor int64) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: "c", Major: &major, Minor: &minor, Access: "rwm"}
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule(true, 1, 5), rule(true, 1, 3), rule(true, 1, 9), rule(true, 1, 8), rule(true, 5, 0), rule(true, 5, 1),
		rule(false, 10, 229),
	}
}
