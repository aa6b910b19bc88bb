package image

import (
	"regexp"
	"strings"

	distribution "github.com/distribution/reference"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
)

// parseName reads a reference as Docker does: docker.io/library is the default
// place, latest the default tag, and of NAME:TAG@DIGEST the digest decides.
func parseName(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, nameError(ref, err)
	}
	return named, nil
}

// nameError says in Docker's words what is wrong with a reference.
func nameError(ref string, err error) error {
	if _, dockers := distribution.ParseNormalizedNamed(ref); dockers != nil {
		err = dockers
	}
	return errs.Wrap(errs.Invalid, err)
}

// familiar gives a stored name as Docker shows it: redis:latest for
// docker.io/library/redis:latest. A name that is none is given as it is.
func familiar(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(named)
}

// repository gives a stored name's full repository, without tag and digest.
func repository(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return named.Name()
}

// isDigestName tells NAME@DIGEST from NAME:TAG.
func isDigestName(name string) bool { return strings.Contains(name, "@") }

// splitNames sorts an image's stored names into tags and digest references,
// both as Docker shows them.
func splitNames(names []string) (tags, digests []string) {
	for _, name := range names {
		if isDigestName(name) {
			digests = append(digests, familiar(name))
		} else {
			tags = append(tags, familiar(name))
		}
	}
	return tags, digests
}

var (
	fullID   = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
	prefixID = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)
)

// imageID gives Docker's form of a storage image's ID.
func imageID(img *storage.Image) string { return "sha256:" + img.ID }

func bareID(id string) string { return strings.TrimPrefix(id, "sha256:") }

func shortID(id string) string {
	id = bareID(id)
	return id[:min(12, len(id))]
}

// noSuchImage is Docker's answer for what is not there.
func noSuchImage(ref string) error {
	if !fullID.MatchString(ref) {
		if named, err := reference.ParseDockerRef(ref); err == nil {
			ref = reference.FamiliarString(named)
		}
	}
	return errs.New(errs.NotFound, "No such image: %s", ref)
}
