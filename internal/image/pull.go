package image

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	storagetransport "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// pullOf is one pull on its way.
type pullOf struct {
	auth     model.RegistryAuth
	s        *Store
	name     reference.Named
	platform string // as asked for; empty: this machine's
	sys      *types.SystemContext
	progress func(model.Progress)
}

// Pull gets an image from its registry and gives its ID. platform is
// OS/ARCH[/VARIANT] or empty. Pulls of the same name wait for each other, so
// the second finds the first's layers.
func (s *Store) Pull(ctx context.Context, ref, platform string, auth model.RegistryAuth, progress func(model.Progress)) (string, error) {
	name, err := parseName(ref)
	if err != nil {
		return "", err
	}
	if progress == nil {
		progress = func(model.Progress) {}
	}
	p := pullOf{s: s, name: name, auth: auth, platform: platform, sys: s.registrySystem(reference.Domain(name), auth), progress: progress}
	if platform != "" {
		parsed, err := platforms.Parse(platform)
		if err != nil {
			return "", errs.New(errs.Invalid, "invalid platform %q: %w", platform, err)
		}
		p.sys.OSChoice, p.sys.ArchitectureChoice, p.sys.VariantChoice = parsed.OS, parsed.Architecture, parsed.Variant
	}
	unlock, err := s.names.lock(ctx, name.String())
	if err != nil {
		return "", err
	}
	defer unlock()
	id, err := p.run(ctx)
	if err != nil {
		return "", registryError("pull", name, err)
	}
	return id, nil
}

func (p pullOf) run(ctx context.Context) (id string, err error) {
	if err := p.s.reach(ctx, reference.Domain(p.name), p.auth); err != nil {
		return "", err
	}
	src, err := p.open(ctx)
	if err != nil {
		return "", err
	}
	raw, mime, err := src.GetManifest(ctx, nil)
	if err != nil {
		_ = src.Close()
		return "", err
	}
	digest, err := manifest.Digest(raw)
	if err != nil {
		_ = src.Close()
		return "", err
	}
	p.progress(model.Progress{ID: tagOrDigest(p.name), Status: "Pulling from " + reference.Path(p.name)})
	canonical, err := reference.WithDigest(reference.TrimNamed(p.name), digest)
	if err != nil {
		_ = src.Close()
		return "", err
	}
	before := p.local(canonical.String())
	if before != nil && p.matches(before) {
		_ = src.Close()
		return p.report(before, before, canonical), nil
	}
	if err := p.checkPlatform(ctx, src, mime); err != nil {
		_ = src.Close()
		return "", err
	}
	end := p.s.begin()
	defer func() { end(err) }()
	img, err := p.copy(ctx, src)
	if err != nil {
		return "", err
	}
	if err := p.s.store.AddNames(img.ID, []string{canonical.String()}); err != nil {
		return "", fmt.Errorf("noting the digest: %w", err)
	}
	if err := p.s.setHidden(img.ID, false); err != nil {
		return "", err
	}
	return p.report(before, img, canonical), nil
}

// open connects and reads the manifest, within answerTimeout.
func (p pullOf) open(ctx context.Context) (types.ImageSource, error) {
	ref, err := docker.NewReference(p.name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return ref.NewImageSource(ctx, p.sys)
}

// local gives the image that has the pulled name and the registry's digest already.
func (p pullOf) local(canonical string) *storage.Image {
	images, err := p.s.images()
	if err != nil {
		return nil
	}
	for i := range images {
		if slices.Contains(images[i].Names, p.name.String()) && slices.Contains(images[i].Names, canonical) {
			return &images[i]
		}
	}
	return nil
}

// matches tells whether an image is of the platform a pull would get.
func (p pullOf) matches(img *storage.Image) bool {
	parsed, err := p.s.parse(img)
	if err != nil {
		return false
	}
	want := p.platform
	if want == "" {
		want = "linux/" + runtime.GOARCH
	}
	have := parsed.image.Platform
	return have == want || strings.HasPrefix(have, want+"/")
}

// checkPlatform refuses an image of one platform that is not the one asked
// for; a list of several is chosen from by the copy.
func (p pullOf) checkPlatform(ctx context.Context, src types.ImageSource, mime string) error {
	if p.platform == "" || manifest.MIMETypeIsMultiImage(mime) {
		return nil
	}
	img, err := image.FromUnparsedImage(ctx, p.sys, image.UnparsedInstance(src, nil))
	if err != nil {
		return err
	}
	info, err := img.Inspect(ctx)
	if err != nil {
		return err
	}
	have := platformString(info.Os, info.Architecture, info.Variant)
	if have == p.platform || strings.HasPrefix(have, p.platform+"/") {
		return nil
	}
	return errs.New(errs.NotFound, "image with reference %s was found but does not match the specified platform: wanted %s, actual: %s",
		reference.FamiliarString(p.name), p.platform, have)
}

// copy brings the image into the store and closes src.
func (p pullOf) copy(ctx context.Context, src types.ImageSource) (*storage.Image, error) {
	dst, err := storagetransport.Transport.NewStoreReference(p.s.store, p.name, "")
	if err != nil {
		_ = src.Close()
		return nil, err
	}
	_, resolved, err := transfer{
		from: opened{src.Reference(), src}, to: dst, fromSys: p.sys, toSys: p.sys, progress: p.progress,
		words: words{"Pulling fs layer", "Downloading", "Download complete", "Pull complete", "Already exists"},
	}.run(ctx)
	if err != nil {
		if strings.Contains(err.Error(), "no image found in") { // manifest lists' and indexes' error has no type
			return nil, errs.New(errs.NotFound, "no matching manifest for %s in the manifest list entries: %w", p.wanted(), err)
		}
		return nil, err
	}
	_, img, err := storagetransport.ResolveReference(resolved)
	return img, err
}

func (p pullOf) wanted() string {
	if p.platform != "" {
		return p.platform
	}
	return "linux/" + runtime.GOARCH
}

// opened is a reference whose source is open already, with its manifest read:
// to read it again would count twice against a registry's limit.
type opened struct {
	types.ImageReference
	source types.ImageSource
}

func (o opened) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return o.source, nil
}

// report says how the pull went and gives the image's ID.
func (p pullOf) report(before, after *storage.Image, canonical reference.Canonical) string {
	shown := reference.FamiliarString(p.name)
	p.progress(model.Progress{Status: "Digest: " + canonical.Digest().String()})
	if before != nil && before.ID == after.ID {
		p.progress(model.Progress{Status: "Status: Image is up to date for " + shown})
	} else {
		p.progress(model.Progress{Status: "Status: Downloaded newer image for " + shown})
	}
	return imageID(after)
}

func tagOrDigest(name reference.Named) string {
	switch n := name.(type) {
	case reference.Digested:
		return n.Digest().String()
	case reference.Tagged:
		return n.Tag()
	}
	return ""
}
