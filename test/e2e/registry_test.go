package e2e

import (
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/jackstay/jackstay/test/host"
)

// registry runs Debian's docker-registry on a test host; more is YAML added to
// its http section or beside it.
func registry(h *host.Host, name, addr, more string) {
	h.T.Helper()
	if h.TrySh("command -v docker-registry").Code != 0 {
		h.T.Skip("needs docker-registry (Debian package docker-registry)")
	}
	conf := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + h.Dir + "/" + name + "}, delete: {enabled: true}}\nhttp:\n  addr: " + addr + "\n" + more
	path := h.Dir + "/" + name + ".yml"
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		h.T.Fatal(err)
	}
	background(h, "exec docker-registry serve "+path+" >"+path+".log 2>&1")
	h.Eventually(10*time.Second, func() error {
		if r := h.TrySh("curl -sk -o /dev/null http://" + addr + "/v2/"); r.Code != 0 {
			return errorf("the registry does not answer: %s", h.Sh("cat "+path+".log"))
		}
		return nil
	})
}

// Push and pull with the machine's docker command, as it looks to its user.
func TestRegistry(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	const r = "127.0.0.1:5000"
	registry(h, "plain", r, "")
	try(h, []step{
		{line: `docker tag busybox ` + r + `/me/app:1 && docker push ` + r + `/me/app:1`,
			want: `The push refers to repository \[127\.0\.0\.1:5000/me/app\]\n[0-9a-f]{12}: Preparing\n.*[0-9a-f]{12}: Pushed\n1: digest: sha256:` + id64 + ` size: \d+`},
		{line: `docker push ` + r + `/me/app:1`, want: `.*1: digest: sha256:` + id64 + ` size: \d+`},
		{line: `docker push -q ` + r + `/me/app:1`, want: `127\.0\.0\.1:5000/me/app:1`},
		{line: `docker push ` + r + `/me/none`, code: 1, want: `.*`, says: `An image does not exist locally with the tag: ` + r + `/me/none`},
		{line: `docker image inspect ` + r + `/me/app:1 -f '{{index .RepoDigests 0}}' | tee ` + h.Dir + `/digest`, want: `127\.0\.0\.1:5000/me/app@sha256:` + id64},
		{line: `docker rmi busybox ` + r + `/me/app:1 >/dev/null && docker images -q`},
		{line: `docker pull ` + r + `/me/app:1`,
			want: `1: Pulling from me/app\n[0-9a-f]{12}: Pulling fs layer\n.*[0-9a-f]{12}: Pull complete\nDigest: sha256:` + id64 + `\nStatus: Downloaded newer image for 127\.0\.0\.1:5000/me/app:1\n127\.0\.0\.1:5000/me/app:1`},
		{line: `docker pull ` + r + `/me/app:1`, want: `.*Status: Image is up to date for 127\.0\.0\.1:5000/me/app:1\n.*`},
		{line: `docker pull -q ` + r + `/me/app:1`, want: `127\.0\.0\.1:5000/me/app:1`},
		{line: `docker rmi ` + r + `/me/app:1 >/dev/null; docker pull $(cat ` + h.Dir + `/digest)`, want: `.*Status: Downloaded newer image for 127\.0\.0\.1:5000/me/app@sha256:.*`},
		{line: `docker run --rm $(cat ` + h.Dir + `/digest) echo by digest`, want: `by digest`},
		{line: `docker rmi $(cat ` + h.Dir + `/digest)`, want: `Untagged: .*`},
		{line: `docker run --rm ` + r + `/me/app:1 echo pulled`, want: `pulled`, says: `Unable to find image '127.0.0.1:5000/me/app:1' locally`},
		{line: `docker pull ` + r + `/me/app:2`, code: 1, says: `manifest for 127.0.0.1:5000/me/app:2 not found: manifest unknown`},
		{line: `docker pull ` + r + `/no/thing`, code: 1, want: `Using default tag: latest`, says: `not found`},
		{line: `docker pull 127.0.0.1:5999/x`, code: 1, want: `Using default tag: latest`, says: `connection refused`},
		{line: `docker pull --platform linux/arm64 ` + r + `/me/app:1`, code: 1, want: `.*`, says: `linux/arm64`},
	})
}

// Credentials, and a certificate of a CA of one's own.
func TestRegistryLoginAndTLS(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	d := h.Dir
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d+"/htpasswd", []byte("jane:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// An address that is not loopback is spoken to over TLS alone. /etc is the test host's own.
	const r = "10.97.0.1:5443"
	h.Sh(`ip addr add 10.97.0.1/32 dev lo
mkdir ` + d + `/upper ` + d + `/work && mount -t overlay etc -o lowerdir=/etc,upperdir=` + d + `/upper,workdir=` + d + `/work /etc
cd ` + d + ` && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=registry -keyout server.key -out server.csr 2>/dev/null
echo subjectAltName=IP:10.97.0.1 >ext && openssl x509 -req -days 2 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out server.crt 2>/dev/null`)
	registry(h, "secure", r, "  tls: {certificate: "+d+"/server.crt, key: "+d+"/server.key}\nauth: {htpasswd: {realm: test, path: "+d+"/htpasswd}}\n")
	try(h, []step{
		{line: `docker tag busybox ` + r + `/app && docker push ` + r + `/app`, code: 1, want: `.*`, says: `can't be verified`},
		{line: `mkdir -p /etc/jackstay/certs.d/` + r + ` && cp ` + d + `/ca.crt /etc/jackstay/certs.d/` + r},
		{line: `docker push ` + r + `/app`, code: 1, want: `.*`, says: `denied`},
		{line: `echo wrong | docker login -u jane --password-stdin ` + r, code: 1, says: `unauthorized`},
		{line: `echo secret | docker login -u jane --password-stdin ` + r + ` 2>/dev/null`, want: `Login Succeeded`},
		{line: `docker push ` + r + `/app`, want: `.*latest: digest: sha256:.*`},
		{line: `docker save busybox | docker load`, want: `.*Loaded image: busybox:latest`},
		{line: `docker rmi ` + r + `/app >/dev/null && docker pull ` + r + `/app`, want: `.*Status: (Downloaded newer image|Image is up to date) for 10\.97\.0\.1:5443/app:latest.*`},
		{line: `docker logout ` + r, want: `Removing login credentials for ` + r},
		{line: `docker rmi ` + r + `/app >/dev/null && docker pull ` + r + `/app`, code: 1, want: `.*`, says: `denied`},
	})
}
