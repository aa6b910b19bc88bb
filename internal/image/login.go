package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Login checks credentials at a registry. No token is ever given: clients keep
// the password.
func (s *Store) Login(ctx context.Context, auth model.RegistryAuth) (status, token string, err error) {
	domain := registryDomain(auth.ServerAddress)
	if auth.Password == "" && (auth.IdentityToken != "" || auth.RegistryToken != "") {
		return "", "", errs.New(errs.NotImplemented, "logging in to %s with a token is not supported, use a user name and password", domain)
	}
	if err := s.reach(ctx, domain, auth); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err = docker.CheckAuth(ctx, s.registrySystem(domain, auth), auth.Username, auth.Password, domain)
	if err == nil {
		return "Login Succeeded", "", nil
	}
	if _, status := registryCode(err); isUnauthorized(err) || status == http.StatusUnauthorized {
		return "", "", errs.New(errs.Unauthorized, "login attempt to %s failed: unauthorized: incorrect username or password", domain)
	}
	return "", "", errs.New(errs.Unavailable, "login attempt to %s failed: %w", domain, err)
}

// registryDomain takes what clients send as a registry's address, which may be
// a URL, and Docker Hub's old one.
func registryDomain(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	address, _, _ = strings.Cut(address, "/")
	switch address {
	case "", "index.docker.io", hubHost:
		return hubDomain
	}
	return address
}

// searchTimeout bounds a search.
const searchTimeout = 30 * time.Second

// Search asks Docker Hub's search service, or that of the registry the term
// names (HOST/TERM), if it has one.
func (s *Store) Search(ctx context.Context, term string, limit int, auth model.RegistryAuth) ([]model.SearchResult, error) {
	if term == "" {
		return nil, errs.New(errs.Invalid, "a search needs a term")
	}
	base, query := s.hubSearch, term
	if named, err := reference.ParseNormalizedNamed(term); err == nil && reference.Domain(named) != hubDomain {
		base, query = "https://"+reference.Domain(named), reference.Path(named)
	}
	if limit <= 0 {
		limit = 25
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	values := url.Values{"q": {strings.TrimPrefix(query, "library/")}, "n": {strconv.Itoa(limit)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/search?"+values.Encode(), nil)
	if err != nil {
		return nil, errs.New(errs.Invalid, "searching for %q: %w", term, err)
	}
	if auth.Username != "" {
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	hits, err := fetchHits(guard{auth.Reach}.client(), req)
	if errs.Is(err, errs.Forbidden) {
		return nil, err
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable, "searching at %s: %w", base, err)
	}
	return hits[:min(limit, len(hits))], nil
}

func fetchHits(client *http.Client, req *http.Request) ([]model.SearchResult, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	var found struct {
		Results []struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Stars       int    `json:"star_count"`
			Official    bool   `json:"is_official"`
			Automated   bool   `json:"is_automated"`
		} `json:"results"`
	}
	const mostBytes = 8 << 20
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostBytes)).Decode(&found); err != nil {
		return nil, fmt.Errorf("its answer can't be read: %w", err)
	}
	out := make([]model.SearchResult, 0, len(found.Results))
	for _, r := range found.Results {
		out = append(out, model.SearchResult(r))
	}
	return out, nil
}
