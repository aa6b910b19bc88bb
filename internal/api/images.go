package api

import (
	"context"
	"io"

	"github.com/jackstay/jackstay/internal/model"
)

// Images is the image store as the handlers need it.
type Images interface {
	Lookup(ctx context.Context, ref string) (model.Image, error)
	// Detail adds what inspect and history show.
	Detail(ctx context.Context, ref string) (model.ImageDetail, error)
	List(ctx context.Context, f model.ImageFilter) ([]model.ImageDetail, error)
	Pull(ctx context.Context, ref, platform string, auth model.RegistryAuth, progress func(model.Progress)) (id string, err error)
	Push(ctx context.Context, ref string, auth model.RegistryAuth, progress func(model.Progress)) error
	// Load reads a docker-archive or an OCI archive, compressed or not, and gives the names or IDs it loaded.
	Load(ctx context.Context, r io.Reader) ([]string, error)
	// Save writes a docker-archive of the refs.
	Save(ctx context.Context, refs []string, w io.Writer) error
	// Import makes an image of one layer from a tar archive; changes are Dockerfile lines.
	Import(ctx context.Context, r io.Reader, ref, message, platform string, changes []string) (id string, err error)
	Tag(ctx context.Context, ref, target string) error
	// Remove untags ref and deletes the image when that was its last name (or by ID, or force).
	Remove(ctx context.Context, ref string, force, prune bool, inUse func(imageID string) (container string, running, used bool)) ([]model.ImageRemoval, error)
	Prune(ctx context.Context, dangling bool, keep func(model.ImageDetail) bool, inUse func(imageID string) (string, bool, bool)) ([]model.ImageRemoval, int64, error)
	// Login checks credentials at a registry.
	Login(ctx context.Context, auth model.RegistryAuth) (status, token string, err error)
	Search(ctx context.Context, term string, limit int, auth model.RegistryAuth) ([]model.SearchResult, error)
	// DiskUsage gives the bytes of all layers.
	DiskUsage(ctx context.Context) (int64, error)
}
