package engine

import (
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// An option of ours comes as a label of the request. An unknown one is refused;
// an image's label is none.
func TestOptions(t *testing.T) {
	w := newWorld(t)
	img := w.images["img"]
	img.Config.Labels = map[string]string{"com.jackstay.unheard": "of"}
	w.images["img"] = img
	r := w.engine()
	labelled := func(key, value string) func(*model.CreateRequest) {
		return func(req *model.CreateRequest) {
			req.Config.Labels = map[string]string{key: value, "com.example.x": "y"}
		}
	}
	id := r.create(t, "one", "serve", labelled("com.jackstay.mac-from", "web"))
	if mac := r.store.Snapshot().ByContainer[id][0].MAC; mac != "02:25:67:a5:ec:97" {
		t.Errorf("MAC from the word web: %s", mac)
	}
	for _, c := range []struct{ key, value, mac, want string }{
		{"com.jackstay.mac", "web", "", "unknown label com.jackstay.mac: those that begin with com.jackstay. are options of Jackstay: "},
		{"com.jackstay.mac-from", "", "", "invalid label com.jackstay.mac-from= (--mac-from): give a word"},
		{"com.jackstay.mac-from", "web", "02:00:00:00:00:01", "conflicting options: --mac-address 02:00:00:00:00:01 and --mac-from"},
	} {
		req := model.CreateRequest{Image: "img", MAC: c.mac}
		labelled(c.key, c.value)(&req)
		if _, _, err := r.CreateContainer(t.Context(), req); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %s…", c.key, c.value, err, c.want)
		}
	}
}
