package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Bounds of talking to a registry: to connect, and to get the first answer.
const (
	dialTimeout   = 15 * time.Second
	answerTimeout = 60 * time.Second
)

// The default registry, and the host that serves it.
const (
	hubDomain = "docker.io"
	hubHost   = "registry-1.docker.io"
)

// acceptAnything is the signature policy: none, as Docker's.
func acceptAnything() (*signature.PolicyContext, error) {
	return signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
}

// system is the libraries' configuration without a file of the machine's.
func (s *Store) system() *types.SystemContext {
	return &types.SystemContext{
		RegistriesDirPath:           s.configDir(),
		SystemRegistriesConfPath:    s.registriesConf(),
		SystemRegistriesConfDirPath: s.configDir(),
		DockerCertPath:              s.configDir(),
		DockerAuthConfig:            &types.DockerAuthConfig{}, // nil would read the user's files
		BlobInfoCacheDir:            filepath.Join(s.graphRoot, "cache"),
		BigFilesTemporaryDir:        s.tmp,
		DockerRegistryUserAgent:     "jackstay",
	}
}

// registrySystem is system for one registry and its credentials. A registry on
// this machine may be plain HTTP or show any certificate, unless there are
// certificates to check it against.
func (s *Store) registrySystem(domain string, auth model.RegistryAuth) *types.SystemContext {
	sys := s.system()
	sys.DockerAuthConfig = &types.DockerAuthConfig{
		Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken,
	}
	sys.DockerBearerRegistryToken = auth.RegistryToken
	if auth.Reach != nil {
		sys.DockerProxy = guard{auth.Reach}.proxy
	}
	certs := s.certDir(domain)
	if certs != "" {
		sys.DockerCertPath = certs
	}
	sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(certs == "" && isLoopback(domain))
	return sys
}

// certDir gives the folder with the registry's certificates, "" if there is none.
func (s *Store) certDir(domain string) string {
	for _, dir := range s.certDirs {
		path := filepath.Join(dir, domain)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return ""
}

// isLoopback tells whether a registry's HOST[:PORT] is localhost, in
// 127.0.0.0/8 or ::1.
func isLoopback(domain string) bool {
	host := hostOf(domain)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func hostOf(domain string) string {
	if host, _, err := net.SplitHostPort(domain); err == nil {
		return host
	}
	return strings.Trim(domain, "[]")
}

// reach connects to the registry once, so that one that is down is named
// within dialTimeout. A proxy's business is not checked.
func (s *Store) reach(ctx context.Context, domain string, auth model.RegistryAuth) error {
	if domain == hubDomain {
		domain = hubHost
	}
	target := &url.URL{Scheme: "https", Host: domain}
	g := guard{auth.Reach}
	if err := g.check(ctx, target.Hostname()); err != nil {
		return err
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target}); err != nil || proxy != nil {
		return nil
	}
	ports := []string{target.Port()}
	if ports[0] == "" {
		ports = []string{"443", "80"}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var first error
	for _, port := range ports {
		conn, err := g.dialer().DialContext(ctx, "tcp", net.JoinHostPort(hostOf(domain), port))
		if err == nil {
			return conn.Close()
		}
		if errs.Is(err, errs.Forbidden) {
			return err
		}
		if first == nil {
			first = err
		}
		if !isLoopback(domain) {
			break // plain HTTP is for this machine only
		}
	}
	return errs.New(errs.Unavailable, "can't reach the registry %s: %w", domain, first)
}

// registryError turns what the library says of pulling or pushing name into
// Docker's words with a meaning.
func registryError(action string, name reference.Named, err error) error {
	host, shown := reference.Domain(name), reference.FamiliarString(name)
	var own *errs.Error
	if errors.As(err, &own) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s of %s was cancelled: %w", action, shown, err)
	}
	switch code, status := registryCode(err); {
	case isUnauthorized(err), code == "UNAUTHORIZED", code == "DENIED", status == http.StatusUnauthorized, status == http.StatusForbidden:
		if action == "push" {
			return errs.New(errs.Unauthorized, "push access to %s denied: authorization failed: %w", reference.FamiliarName(name), err)
		}
		// Not found, as in Docker: to 401 the docker command answers with a prompt for Docker Hub's password.
		return errs.New(errs.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login': %w", reference.FamiliarName(name), err)
	case code == "NAME_UNKNOWN":
		return errs.New(errs.NotFound, "repository %s not found: name unknown: repository name not known to registry", reference.FamiliarName(name))
	case action == "pull" && (code == "MANIFEST_UNKNOWN" || status == http.StatusNotFound):
		return errs.New(errs.NotFound, "manifest for %s not found: manifest unknown: manifest unknown", shown)
	case errors.Is(err, docker.ErrTooManyRequests):
		return errs.New(errs.Unavailable, "toomanyrequests: the registry %s refuses more requests for now: %w", host, err)
	}
	var certErr *tls.CertificateVerificationError
	if errors.As(err, &certErr) {
		return errs.New(errs.Unavailable, "the certificate of the registry %s can't be verified: %w (its CA belongs into /etc/jackstay/certs.d/%s/ca.crt)", host, certErr.Err, host)
	}
	var netErr net.Error
	if errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, "talking to the registry %s: %w", host, err)
	}
	return fmt.Errorf("%s of %s: %w", action, shown, err)
}

// registryCode gives the registry's own error code and HTTP status, where it gave them.
func registryCode(err error) (code string, status int) {
	var coded errcode.Error
	if errors.As(err, &coded) {
		d := coded.ErrorCode().Descriptor()
		return d.Value, d.HTTPStatusCode
	}
	var many errcode.Errors
	if errors.As(err, &many) && len(many) > 0 {
		return registryCode(many[0])
	}
	var unexpected docker.UnexpectedHTTPStatusError
	if errors.As(err, &unexpected) {
		return "", unexpected.StatusCode
	}
	return "", 0
}

func isUnauthorized(err error) bool {
	var bad docker.ErrUnauthorizedForCredentials
	return errors.As(err, &bad)
}
