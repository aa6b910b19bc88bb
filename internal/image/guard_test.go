package image

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// offLimits is a model.Reach.
type offLimits []string

func (o offLimits) OffLimits(a netip.Addr) bool {
	for _, p := range o {
		if netip.MustParsePrefix(p).Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// What is off limits to who asks is not even connected to: neither where the
// registry is said to be, nor where one that may be asked sends us.
func TestRegistriesOffLimits(t *testing.T) {
	var asked atomic.Int32
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip(err)
	}
	inside.Config.ConnState = func(net.Conn, http.ConnState) { asked.Add(1) }
	inside.Listener.Close()
	inside.Listener = l
	inside.Start()
	defer inside.Close()
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/search"):
			http.Redirect(w, r, inside.URL+r.URL.Path, http.StatusTemporaryRedirect)
		case strings.HasPrefix(r.URL.Path, "/v2/"):
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, inside.URL))
			if r.URL.Path == "/v2/" && r.Header.Get("Authorization") != "" {
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer outside.Close()
	in, out := strings.TrimPrefix(inside.URL, "http://"), strings.TrimPrefix(outside.URL, "http://")
	_, port, _ := net.SplitHostPort(in)
	s := newStore(t, func(o *Options) { o.HubSearch = outside.URL })
	importImage(t, s, in+"/app:v1", `CMD ["/bin/app"]`)
	importImage(t, s, out+"/app:v1", `CMD ["/bin/app"]`)
	some := model.RegistryAuth{Username: "jane", Password: "secret", Reach: offLimits{"127.0.0.2/32"}}
	all := model.RegistryAuth{Username: "jane", Password: "secret", Reach: offLimits{"127.0.0.0/8", "::1/128"}}
	pull := func(ref string, auth model.RegistryAuth) error {
		_, err := s.Pull(ctx, ref, "", auth, nil)
		return err
	}
	login := func(server string, auth model.RegistryAuth) error {
		auth.ServerAddress = server
		_, _, err := s.Login(ctx, auth)
		return err
	}
	search := func(term string, auth model.RegistryAuth) error {
		_, err := s.Search(ctx, term, 1, auth)
		return err
	}
	for what, err := range map[string]error{
		"pull":             pull(in+"/app:v1", some),
		"pull by name":     pull("localhost:"+port+"/app:v1", all),
		"push":             s.Push(ctx, in+"/app:v1", some, nil),
		"login":            login(in, some),
		"search":           search(in+"/app", some),
		"search, sent on":  search("app", some),
		"pull, token from": pull(out+"/app:v1", some),
		"push, token from": s.Push(ctx, out+"/app:v1", some, nil),
		"login, token":     login(out, some),
	} {
		if !errs.Is(err, errs.Forbidden) && !strings.Contains(fmt.Sprint(err), "is not open to tenants") {
			t.Errorf("%s: %v (kind %v)", what, err, errs.KindOf(err))
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
	// The administrator's requests go there.
	_ = pull(in+"/app:v1", credentials)
	if asked.Load() == 0 {
		t.Error("the administrator's request did not go there either")
	}
}
