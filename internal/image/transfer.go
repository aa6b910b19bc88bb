package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/jackstay/jackstay/internal/model"
)

// transfer copies an image between a registry, an archive and the store.
type transfer struct {
	from, to       types.ImageReference
	fromSys, toSys *types.SystemContext
	words          words // of the layers' progress; zero: none is reported
	progress       func(model.Progress)
}

// words are Docker's words for the steps of one layer.
type words struct{ begin, move, moved, done, skipped string }

// run copies and gives the manifest as it is at the destination, and the
// resolved destination where that is the store.
func (t transfer) run(ctx context.Context) (manifest []byte, resolved types.ImageReference, err error) {
	policy, err := acceptAnything()
	if err != nil {
		return nil, nil, fmt.Errorf("making the signature policy: %w", err)
	}
	defer func() { _ = policy.Destroy() }()
	o := &copy.Options{
		SourceCtx: t.fromSys, DestinationCtx: t.toSys,
		RemoveSignatures:        true,
		ReportResolvedReference: &resolved,
	}
	finish := func(bool) {}
	if t.progress != nil && t.words.begin != "" {
		o.Progress, finish = t.report()
		o.ProgressInterval = 100 * time.Millisecond
	}
	manifest, err = copy.Image(ctx, policy, t.to, t.from, o)
	finish(err == nil)
	return manifest, resolved, err
}

// report translates the library's progress into Docker's. The caller calls
// finish once the copy is over; then progress is not called any more.
func (t transfer) report() (events chan types.ProgressProperties, finish func(ok bool)) {
	events = make(chan types.ProgressProperties)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var moved []string
	go func() {
		defer close(stopped)
		for {
			select {
			case e := <-events:
				if id, done := t.tell(e); done {
					moved = append(moved, id)
				}
			case <-stop:
				return
			}
		}
	}()
	return events, func(ok bool) {
		close(stop)
		<-stopped
		if !ok {
			return
		}
		for _, id := range moved {
			t.progress(model.Progress{ID: id, Status: t.words.done})
		}
	}
}

// tell reports one event; done says that a layer has come over whole.
func (t transfer) tell(e types.ProgressProperties) (id string, done bool) {
	if isConfigType(e.Artifact.MediaType) {
		return "", false
	}
	p := model.Progress{ID: shortID(e.Artifact.Digest.Encoded())}
	switch e.Event {
	case types.ProgressEventNewArtifact:
		p.Status = t.words.begin
	case types.ProgressEventRead:
		p.Status, p.Current, p.Total = t.words.move, int64(e.Offset), max(0, e.Artifact.Size)
	case types.ProgressEventDone:
		p.Status = t.words.moved
	case types.ProgressEventSkipped:
		p.Status = t.words.skipped
	default:
		return "", false
	}
	t.progress(p)
	return p.ID, e.Event == types.ProgressEventDone
}

func isConfigType(mediaType string) bool {
	return strings.HasSuffix(mediaType, "+json")
}
