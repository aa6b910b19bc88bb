package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// creation is a container on its way into the store.
type creation struct {
	c        *model.Container
	opts     options
	fip      *newFIP // nil: none
	asked    []model.EndpointRequest
	mounts   []resolvedMount
	named    bool     // the user gave the name
	newDirs  []string // volumes whose directories were not there before
	warnings []string
}

// CreateContainer makes a container: its writable layer, its volumes, and then,
// in one transaction, its record with addresses and links. What fails leaves
// nothing behind.
func (e *Engine) CreateContainer(ctx context.Context, req model.CreateRequest) (id string, warnings []string, err error) {
	cr, err := e.prepareCreate(ctx, req)
	if err != nil {
		return "", nil, err
	}
	c := cr.c
	defer e.making.add(c.ID)()
	if err := e.images.CreateLayer(ctx, c.ID, c.ImageID); err != nil {
		return "", nil, fmt.Errorf("create container %s: %w", c.Name, err)
	}
	if err := e.storeCreated(ctx, cr); err != nil {
		if rerr := e.images.RemoveLayer(context.WithoutCancel(ctx), c.ID); rerr != nil {
			e.log.Error("the layer of a container that could not be created can't be removed", "container", c.ID, "error", rerr)
		}
		return "", nil, err
	}
	e.containerEvent(c, "create")
	e.groupEvents(c, c.SecurityGroups, "attach")
	cr.fip.tell(e, c)
	return c.ID, cr.warnings, nil
}

// prepareCreate validates a request and completes it from image and snapshot.
func (e *Engine) prepareCreate(ctx context.Context, req model.CreateRequest) (*creation, error) {
	s := e.store.Snapshot()
	cr := &creation{named: req.Name != ""}
	var err error
	if cr.named {
		if req.Name, err = checkContainerName(req.Name); err != nil {
			return nil, err
		}
		if err := nameFree(s, req.Name, ""); err != nil {
			return nil, err
		}
	}
	if err := validate(&req.Config, &req.Host); err != nil {
		return nil, err
	}
	if err := e.permitContainer(&req); err != nil {
		return nil, err
	}
	if err := e.runtime.Check(req.Host); err != nil {
		return nil, err
	}
	if cr.opts, err = readOptions(req.Config.Labels); err != nil {
		return nil, err
	}
	if cr.fip, err = e.prepareFIP(ctx, cr.opts); err != nil {
		return nil, err
	}
	if req.Image == "" {
		return nil, errs.New(errs.Invalid, "invalid reference format: no image given")
	}
	img, err := e.images.Lookup(ctx, req.Image)
	if err != nil {
		return nil, err
	}
	if err := checkPlatform(&req, img); err != nil {
		return nil, err
	}
	userPorts := req.Config.ExposedPorts
	cfg := mergeImage(req.Config, img.Config, req.EntrypointReset)
	if _, joined := joinedContainer(req.Host.NetworkMode); joined {
		cfg.ExposedPorts = model.SortPorts(userPorts)
	}
	for _, b := range req.Host.PortBindings { // a published port is exposed, as with docker run
		cfg.ExposedPorts = append(cfg.ExposedPorts, b.Port)
	}
	cfg.ExposedPorts = model.SortPorts(cfg.ExposedPorts)
	if err := checkConfig(&cfg); err != nil {
		return nil, err
	}
	if err := e.fill(s, cr, &req, cfg, img); err != nil {
		return nil, err
	}
	return cr, e.canLimit(ctx, cr.opts.rates.limited())
}

// checkPlatform refuses an image of another platform than the one asked for.
// Not found, as Docker says, makes clients pull the right one.
func checkPlatform(req *model.CreateRequest, img model.Image) error {
	if req.Platform == "" || img.Platform == "" {
		return nil
	}
	want, err := platforms.Parse(req.Platform)
	if err != nil {
		return errs.New(errs.Invalid, "invalid platform %q: %w", req.Platform, err)
	}
	have, err := platforms.Parse(img.Platform)
	if err != nil || platforms.Only(want).Match(have) {
		return nil //nolint:nilerr // an image that names its platform in no known way is taken as it is
	}
	return errs.New(errs.NotFound, "image with reference %s was found but does not provide the specified platform (%s)", req.Image, platforms.Format(want))
}

// fill makes the record of a validated request.
func (e *Engine) fill(s *model.Snapshot, cr *creation, req *model.CreateRequest, cfg model.Config, img model.Image) (err error) {
	c := &model.Container{
		ID: alloc.ID(), Name: req.Name, Tenant: e.tenant, Created: e.clock.Now(),
		Image: req.Image, ImageID: img.ID, Platform: img.Platform,
		State: model.State{Status: model.StatusCreated},
	}
	cr.c = c
	if !cr.named {
		c.Name = alloc.Name(func(n string) bool { _, taken := s.ContainerNames[n]; return taken })
	}
	if c.Path, c.Args, err = program(cfg); err != nil {
		return err
	}
	if cr.asked, err = resolveNetworks(s, req); err != nil {
		return err
	}
	given := req.MAC
	if given == "" && len(cr.asked) > 0 {
		given = cr.asked[0].MAC
	}
	if cr.opts.mac != "" && given != "" {
		return errs.New(errs.Invalid, "conflicting options: --mac-address %s and --mac-from: give one of them", given)
	}
	if cr.opts.mac != "" {
		if len(cr.asked) == 0 {
			return errs.New(errs.Invalid, "%s %s: --mac-from needs a network of its own", wordsModeAndMAC, req.Host.NetworkMode)
		}
		req.MAC = cr.opts.mac
	}
	if len(cr.asked) > 0 {
		if err := completeFirst(&cr.asked[0], req); err != nil {
			return err
		}
	}
	c.Host = req.Host
	c.Host.StrictLinks = cr.opts.strict
	if err := completeHost(s, &c.Host); err != nil {
		return err
	}
	if c.Host.Runtime == "" {
		c.Host.Runtime = e.opt.RuntimeName
	}
	if c.Host.Runtime != e.opt.RuntimeName {
		return errs.New(errs.Invalid, "unknown or invalid runtime name: %s: this daemon has %s", c.Host.Runtime, e.opt.RuntimeName)
	}
	if cfg.Hostname == "" {
		cfg.Hostname = c.ID[:alloc.ShortID]
		if c.Host.NetworkMode == "host" || c.Host.UTSMode == "host" {
			if cfg.Hostname, err = os.Hostname(); err != nil {
				return fmt.Errorf("read the host's name: %w", err)
			}
		}
	}
	c.Config = cfg
	if c.Host.NetworkMode == "host" && (len(c.Host.PortBindings) > 0 || c.Host.PublishAllPorts) {
		cr.warnings = append(cr.warnings, "Published ports are discarded when using host network mode")
	}
	if c.Host.Resources.Memory > 0 && c.Host.Resources.MemorySwap == 0 {
		c.Host.Resources.MemorySwap = 2 * c.Host.Resources.Memory // Docker's default
	}
	if c.SecurityGroups, err = groupsAtCreate(s, c, cr.opts.groups); err != nil {
		return err
	}
	cr.mounts, err = e.resolveMounts(s, &c.Config, &c.Host)
	for _, m := range cr.mounts {
		c.Mounts = append(c.Mounts, m.Mount)
	}
	return err
}

// completeFirst adds the container-wide MAC and links to the first network's.
func completeFirst(first *model.EndpointRequest, req *model.CreateRequest) error {
	if req.MAC != "" && first.MAC != "" && !strings.EqualFold(req.MAC, first.MAC) {
		return errs.New(errs.Invalid, "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty: %s and %s", req.MAC, first.MAC)
	}
	if first.MAC == "" {
		first.MAC = req.MAC
	}
	first.Links = mergeLinks(first.Links, req.Host.Links)
	return nil
}

// completeHost fills defaults and resolves the containers whose namespaces are joined.
func completeHost(s *model.Snapshot, h *model.HostConfig) error {
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no"
	}
	for _, m := range []struct {
		what string
		mode *string
	}{{"PID", &h.PidMode}, {"IPC", &h.IpcMode}} {
		ref, joined := strings.CutPrefix(*m.mode, "container:")
		if !joined {
			continue
		}
		target, err := findContainer(s, ref)
		if err != nil {
			return errs.New(errs.Invalid, "joining %s namespace of container: %w", m.what, err)
		}
		*m.mode = "container:" + target.ID
	}
	return nil
}

// storeCreated makes the volumes and writes the container.
func (e *Engine) storeCreated(ctx context.Context, cr *creation) error {
	var names []string
	for _, m := range cr.mounts {
		if m.volume != nil {
			names = append(names, m.volume.Key())
		}
	}
	defer e.volumeLocks.LockAll(names...)()
	made, err := e.makeVolumes(ctx, cr)
	if err == nil {
		err = e.putCreated(cr, made)
	}
	for _, v := range made {
		if err == nil {
			e.keepVolumeDir(v.Key())
			e.volumeEvent(v, "create")
		} else if slices.Contains(cr.newDirs, v.Key()) {
			e.dropVolumeDir(v.Key())
		}
	}
	return err
}

// makeVolumes makes and fills the directories; made are the volumes without a
// record yet.
func (e *Engine) makeVolumes(ctx context.Context, cr *creation) (made []*model.Volume, err error) {
	s := e.store.Snapshot()
	for _, m := range cr.mounts {
		if m.volume == nil || s.Volumes[m.volume.Key()] != nil || slices.Contains(made, m.volume) {
			continue
		}
		fresh, err := e.makeVolumeDir(m.volume)
		if err != nil {
			return made, err
		}
		if fresh {
			cr.newDirs = append(cr.newDirs, m.volume.Key())
		}
		made = append(made, m.volume)
	}
	return made, e.fillVolumes(ctx, cr.c.ID, cr.mounts)
}

// putCreated writes container, endpoints, links and new volumes at once.
func (e *Engine) putCreated(cr *creation, made []*model.Volume) error {
	c := cr.c
	_, err := e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		if !cr.named {
			c.Name = alloc.Name(func(n string) bool { _, taken := s.ContainerNames[n]; return taken })
		}
		if err := nameFree(s, c.Name, c.ID); err != nil {
			return err
		}
		for _, v := range made {
			if err := tx.PutVolume(v); err != nil {
				return err
			}
		}
		var err error
		if c.SecurityGroups, err = groupsAtCreate(s, c, cr.opts.groups); err != nil {
			return err // one is gone by now
		}
		if err := tx.PutContainer(c); err != nil {
			return err
		}
		for _, r := range cr.asked {
			if _, err := putEndpoint(tx, c, r); err != nil {
				return err
			}
		}
		if err := limitCreated(tx, cr); err != nil {
			return err
		}
		for _, r := range cr.asked { // a link looks at all of the container's networks
			if err := putLinks(tx, c, r); err != nil {
				return err
			}
		}
		if len(c.SecurityGroups) > 0 {
			if err := checkGroupElements(tx, c.Tenant); err != nil {
				return err
			}
		}
		if err := putLaterLinks(tx, c, cr.opts.later); err != nil {
			return err
		}
		if err := checkJoinable(tx.Snapshot(), c); err != nil || cr.fip == nil {
			return err
		}
		return cr.fip.put(tx, c)
	})
	var known *errs.Error
	if err != nil && !errors.As(err, &known) {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	return err
}

// limitCreated gives a container that is just stored its limits: its interfaces
// have their names by now.
func limitCreated(tx *store.Tx, cr *creation) (err error) {
	if !cr.opts.rates.any() {
		return nil
	}
	c := *cr.c
	if c.Rates, err = cr.opts.rates.apply(tx.Snapshot(), &c); err != nil {
		return err
	}
	return tx.PutContainer(&c)
}

// checkJoinable refuses to join the network namespace of a container that has
// none of its own, or that is gone by now.
func checkJoinable(s *model.Snapshot, c *model.Container) error {
	ref, joined := joinedContainer(c.Host.NetworkMode)
	if !joined {
		return nil
	}
	target := s.Containers[ref]
	switch {
	case target == nil:
		return errs.New(errs.Invalid, "joining network namespace of container: No such container: %s", ref)
	case target.ID == c.ID:
		return errs.New(errs.Invalid, "cannot join own network namespace")
	}
	return nil
}
