//go:build linux

package image

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// registryOptions are how a test's registry is.
type registryOptions struct{ tls, auth bool }

// registry is a real registry server of one test.
type registry struct {
	addr string // 127.0.0.1:PORT
	ca   []byte // PEM
	dir  string
}

var credentials = model.RegistryAuth{Username: "jane", Password: "secret"}

// startRegistry starts Debian's docker-registry on a free port and stops it at the end.
func startRegistry(t testing.TB, o registryOptions) registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry (Debian package docker-registry)")
	}
	r := registry{dir: tempDir(t), addr: freeAddr(t)}
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp:\n  addr: %s\n", r.dir, r.addr)
	if o.tls {
		r.ca = r.makeCertificates(t)
		conf += fmt.Sprintf("  tls: {certificate: %s/server.crt, key: %s/server.key}\n", r.dir, r.dir)
	}
	if o.auth {
		hash, err := bcrypt.GenerateFromPassword([]byte(credentials.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		write(t, r.dir+"/htpasswd", credentials.Username+":"+string(hash)+"\n")
		conf += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", r.dir)
	}
	write(t, r.dir+"/config.yml", conf)
	cmd := exec.Command(program, "serve", r.dir+"/config.yml")
	log := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("registry: %s", log)
		}
	})
	for range 100 {
		if conn, err := net.Dial("tcp", r.addr); err == nil {
			_ = conn.Close()
			return r
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return r
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// makeCertificates makes a CA and a server certificate of it, and gives the CA's.
func (r registry) makeCertificates(t testing.TB) []byte {
	t.Helper()
	sign := func(subject, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, subject, issuer, &key.PublicKey, issuerKey)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	caPEM := sign(ca, ca, caKey, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r.dir+"/server.crt", string(sign(server, ca, key, caKey)))
	write(t, r.dir+"/server.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return caPEM
}

// recorder keeps what a pull or push reports.
type recorder struct {
	mu   sync.Mutex
	all  []model.Progress
	last model.Progress
}

func (r *recorder) add(p model.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.last = append(r.all, p), p
}

func (r *recorder) has(status string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.all, func(p model.Progress) bool { return p.Status == status })
}

// pushImage imports and pushes an image named NAME at the registry.
func pushImage(t testing.TB, s *Store, name string, auth model.RegistryAuth) (id, digest string) {
	t.Helper()
	id = importImage(t, s, name, `CMD ["/bin/app"]`)
	var rec recorder
	if err := s.Push(ctx, name, auth, rec.add); err != nil {
		t.Fatalf("pushing %s: %v", name, err)
	}
	if !rec.has("Pushed") && !rec.has("Layer already exists") {
		t.Errorf("no layer in the push's progress: %+v", rec.all)
	}
	if rec.last.Digest == "" || rec.last.Tag == "" || rec.last.Size == 0 {
		t.Errorf("the push's last message: %+v", rec.last)
	}
	return id, rec.last.Digest
}

// TestPushAndPull over plain HTTP, TLS with a CA of our own, and credentials.
func TestPushAndPull(t *testing.T) {
	for name, o := range map[string]registryOptions{
		"plain": {}, "TLS": {tls: true}, "plain with credentials": {auth: true}, "TLS with credentials": {tls: true, auth: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t, o)
			auth := model.RegistryAuth{}
			if o.auth {
				auth = credentials
			}
			trust := func(opt *Options) {
				if o.tls {
					write(t, filepath.Join(opt.CertDirs[0], r.addr, "ca.crt"), string(r.ca))
				}
			}
			ref := r.addr + "/team/app:v1"
			id, digest := pushImage(t, newStore(t, trust), ref, auth)

			s := newStore(t, trust)
			var rec recorder
			got, err := s.Pull(ctx, ref, "", auth, rec.add)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "ID", got, id)
			for _, status := range []string{"Pulling from team/app", "Pulling fs layer", "Pull complete", "Digest: " + digest, "Status: Downloaded newer image for " + ref} {
				if !rec.has(status) {
					t.Errorf("progress has no %q: %+v", status, rec.all)
				}
			}
			rec = recorder{}
			if _, err := s.Pull(ctx, ref, "", auth, rec.add); err != nil {
				t.Fatal(err)
			}
			equal(t, "again", rec.last.Status, "Status: Image is up to date for "+ref)

			d, err := s.Detail(ctx, r.addr+"/team/app@"+digest)
			if err != nil {
				t.Fatal(err)
			}
			equalList(t, "digests", d.RepoDigests, []string{r.addr + "/team/app@" + digest})
			equalList(t, "tags", d.RepoTags, []string{ref})
			if _, err := s.Remove(ctx, ref, false, true, unused); err != nil {
				t.Fatal(err)
			}
			checkClean(t, s, 0, 0)
			if got, err = s.Pull(ctx, r.addr+"/team/app@"+digest, "", auth, nil); err != nil || got != id {
				t.Errorf("by digest: %s %v", got, err)
			}
		})
	}
}

// TestRegistryErrors: what a user reads when a registry refuses or is not there.
func TestRegistryErrors(t *testing.T) {
	r := startRegistry(t, registryOptions{auth: true})
	s := newStore(t)
	pushImage(t, s, r.addr+"/app:v1", credentials)
	wrong := model.RegistryAuth{Username: "jane", Password: "wrong"}
	nobody := freeAddr(t)
	if err := s.Tag(ctx, r.addr+"/app:v1", nobody+"/app:v1"); err != nil {
		t.Fatal(err)
	}
	pull := func(ref, platform string, auth model.RegistryAuth) error {
		_, err := s.Pull(ctx, ref, platform, auth, nil)
		return err
	}
	login := func(auth model.RegistryAuth, server string) error {
		auth.ServerAddress = server
		_, _, err := s.Login(ctx, auth)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		kind errs.Kind
		want string
	}{
		"no such tag":         {pull(r.addr+"/app:v9", "", credentials), errs.NotFound, "manifest for " + r.addr + "/app:v9 not found: manifest unknown: manifest unknown"},
		"no such digest":      {pull(r.addr+"/app@sha256:"+cid(1), "", credentials), errs.NotFound, "manifest unknown"},
		"no credentials":      {pull(r.addr+"/app:v1", "", model.RegistryAuth{}), errs.NotFound, "pull access denied for " + r.addr + "/app, repository does not exist or may require 'docker login'"},
		"wrong credentials":   {pull(r.addr+"/app:v1", "", wrong), errs.NotFound, "pull access denied"},
		"wrong platform":      {pull(r.addr+"/app:v1", "linux/s390x", credentials), errs.NotFound, "does not match the specified platform: wanted linux/s390x"},
		"broken platform":     {pull(r.addr+"/app:v1", "a/b/c/d", credentials), errs.Invalid, "invalid platform"},
		"nobody there":        {pull(nobody+"/app:v1", "", credentials), errs.Unavailable, "can't reach the registry " + nobody},
		"bad reference":       {pull("Upper", "", credentials), errs.Invalid, "must be lowercase"},
		"push of nothing":     {s.Push(ctx, r.addr+"/none:v1", credentials, nil), errs.NotFound, "An image does not exist locally with the tag: " + r.addr + "/none:v1"},
		"push, denied":        {s.Push(ctx, r.addr+"/app:v1", wrong, nil), errs.Unauthorized, "push access to " + r.addr + "/app denied"},
		"push to nobody":      {s.Push(ctx, nobody+"/app:v1", credentials, nil), errs.Unavailable, "can't reach the registry " + nobody},
		"login, wrong":        {login(wrong, r.addr), errs.Unauthorized, "incorrect username or password"},
		"login, nobody there": {login(credentials, nobody), errs.Unavailable, nobody},
		"login by token":      {login(model.RegistryAuth{IdentityToken: "x"}, r.addr), errs.NotImplemented, "token"},
	} {
		if !errs.Is(c.err, c.kind) || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v (kind %v), want %q", name, c.err, errs.KindOf(c.err), c.want)
		}
	}
	status, _, err := s.Login(ctx, model.RegistryAuth{Username: "jane", Password: "secret", ServerAddress: "http://" + r.addr + "/v2/"})
	equal(t, "login", status, "Login Succeeded")
	equal(t, "error", err, nil)
	checkClean(t, s, 1, 1)
}

// TestCertificates: a registry with certificates in certs.d is held to them, on loopback too.
func TestCertificates(t *testing.T) {
	r, other := startRegistry(t, registryOptions{tls: true}), registry{dir: tempDir(t)}
	otherCA := other.makeCertificates(t)
	ref := r.addr + "/app:v1"
	pushImage(t, newStore(t), ref, model.RegistryAuth{}) // loopback without certificates: any will do
	s := newStore(t, func(o *Options) {
		write(t, filepath.Join(o.CertDirs[0], r.addr, "ca.crt"), string(otherCA))
	})
	_, err := s.Pull(ctx, ref, "", model.RegistryAuth{}, nil)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "certificate of the registry "+r.addr+" can't be verified") {
		t.Errorf("a certificate of another CA: %v", err)
	}
	checkClean(t, s, 0, 0)
}

// TestPullMovesTag: the image that had the tag loses it and keeps its digest.
func TestPullMovesTag(t *testing.T) {
	r := startRegistry(t, registryOptions{})
	ref := r.addr + "/app:v1"
	there := newStore(t)
	old, _ := pushImage(t, there, ref, model.RegistryAuth{})
	s := newStore(t)
	if _, err := s.Pull(ctx, ref, "", model.RegistryAuth{}, nil); err != nil {
		t.Fatal(err)
	}
	now, _ := pushImage(t, there, ref, model.RegistryAuth{})
	got, err := s.Pull(ctx, ref, "", model.RegistryAuth{}, nil)
	if err != nil || got != now || got == old {
		t.Errorf("pulled %s %v, want %s", got, err, now)
	}
	d, err := s.Detail(ctx, old)
	if err != nil || !d.Dangling || len(d.RepoDigests) != 1 {
		t.Errorf("the old one: %+v %v", d, err)
	}
	checkClean(t, s, 2, 1) // both have the same layer
}

// TestPullsAtOnce: one downloads, the others wait and find it.
func TestPullsAtOnce(t *testing.T) {
	r := startRegistry(t, registryOptions{})
	ref := r.addr + "/app:v1"
	id, _ := pushImage(t, newStore(t), ref, model.RegistryAuth{})
	s := newStore(t)
	var rec recorder
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := s.Pull(ctx, ref, "", model.RegistryAuth{}, rec.add); err != nil || got != id {
				t.Errorf("%s %v", got, err)
			}
		})
	}
	wg.Wait()
	downloads := 0
	for _, p := range rec.all {
		if p.Status == "Pulling fs layer" {
			downloads++
		}
	}
	equal(t, "downloads", downloads, 1)
}

// TestPullOfList picks the platform from a list of images.
func TestPullOfList(t *testing.T) {
	r := startRegistry(t, registryOptions{})
	there := newStore(t)
	digests := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		name := r.addr + "/app:" + arch
		if _, err := there.Import(ctx, bytes.NewReader(rootTar(t)), name, "", "linux/"+arch, nil); err != nil {
			t.Fatal(err)
		}
		var rec recorder
		if err := there.Push(ctx, name, model.RegistryAuth{}, rec.add); err != nil {
			t.Fatal(err)
		}
		digests[arch] = rec.last.Digest
	}
	putList(t, r.addr, digests)
	s := newStore(t)
	for platform, want := range map[string]string{"linux/amd64": "linux/amd64", "linux/arm64": "linux/arm64"} {
		id, err := s.Pull(ctx, r.addr+"/app:all", platform, model.RegistryAuth{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		img, err := s.Lookup(ctx, id)
		equal(t, "error", err, nil)
		equal(t, "platform", img.Platform, want)
	}
	_, err := s.Pull(ctx, r.addr+"/app:all", "linux/s390x", model.RegistryAuth{}, nil)
	if !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "no matching manifest for linux/s390x in the manifest list entries") {
		t.Errorf("a platform that is not in the list: %v", err)
	}
}

func putList(t testing.TB, addr string, digests map[string]string) {
	t.Helper()
	const listType = "application/vnd.docker.distribution.manifest.list.v2+json"
	var entries []map[string]any
	for arch, digest := range digests {
		resp, err := http.Head("http://" + addr + "/v2/app/blobs/" + digest)
		if err == nil {
			_ = resp.Body.Close()
		}
		req, _ := http.NewRequest(http.MethodGet, "http://"+addr+"/v2/app/manifests/"+digest, nil)
		req.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json")
		resp, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		size := resp.ContentLength
		_ = resp.Body.Close()
		entries = append(entries, map[string]any{"mediaType": resp.Header.Get("Content-Type"), "digest": digest, "size": size,
			"platform": map[string]string{"os": "linux", "architecture": arch}})
	}
	body, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": listType, "manifests": entries})
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodPut, "http://"+addr+"/v2/app/manifests/all", bytes.NewReader(body))
	req.Header.Set("Content-Type", listType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	equal(t, "putting the list", resp.StatusCode, http.StatusCreated)
}

// TestBrokenPullLeavesNothing: a layer that is not what the manifest says.
func TestBrokenPullLeavesNothing(t *testing.T) {
	r := startRegistry(t, registryOptions{})
	ref := r.addr + "/app:v1"
	pushImage(t, newStore(t), ref, model.RegistryAuth{})
	damaged := 0
	err := filepath.Walk(filepath.Join(r.dir, "data"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Name() != "data" || info.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(body, []byte("\x1f\x8b")) {
			damaged++
			body[len(body)/2] ^= 0xff
			err = os.WriteFile(path, body, 0o644)
		}
		return err
	})
	if err != nil || damaged != 1 {
		t.Fatal(damaged, err)
	}
	s := newStore(t)
	if _, err := s.Pull(ctx, ref, "", model.RegistryAuth{}, nil); err == nil {
		t.Error("a damaged layer was pulled")
	}
	checkClean(t, s, 0, 0)
}

// TestSilentRegistry: one that accepts and never answers does not outlive the request.
func TestSilentRegistry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = newStore(t).Pull(short, l.Addr().String()+"/app:v1", "", model.RegistryAuth{}, nil)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), l.Addr().String()) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestSearch(t *testing.T) {
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/search" || r.URL.Query().Get("q") != "redis" || r.URL.Query().Get("n") != "2" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"results":[{"name":"redis","description":"a store","star_count":7,"is_official":true},{"name":"a/redis"},{"name":"b/redis"}]}`)
	}))
	defer hub.Close()
	s := newStore(t, func(o *Options) { o.HubSearch = hub.URL })
	got, err := s.Search(ctx, "redis", 2, model.RegistryAuth{})
	equalList(t, "hits", got, []model.SearchResult{{Name: "redis", Description: "a store", Stars: 7, Official: true}, {Name: "a/redis"}})
	equal(t, "error", err, nil)
	if _, err := s.Search(ctx, "nginx", 2, model.RegistryAuth{}); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), hub.URL) {
		t.Errorf("a service that answers 404: %v", err)
	}
}

func TestLoopbackRegistries(t *testing.T) {
	for domain, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"docker.io": false, "10.0.0.1:5000": false, "localhost.example.org": false, "127.example.org:5000": false,
	} {
		equal(t, domain, isLoopback(domain), want)
	}
	for address, want := range map[string]string{
		"": "docker.io", "https://index.docker.io/v1/": "docker.io", "https://r.example.org:5000/v2/": "r.example.org:5000", "r.example.org": "r.example.org",
	} {
		equal(t, address, registryDomain(address), want)
	}
}
