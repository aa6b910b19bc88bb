package model

import (
	"net/netip"
	"time"
)

// ImageDetail is an image with what inspect, history and ls show.
type ImageDetail struct {
	Image
	RepoTags       []string
	RepoDigests    []string
	Parent         string
	Comment        string
	Author         string
	Architecture   string
	Variant        string
	OS             string
	Layers         []string // diff IDs
	GraphDriver    string
	GraphData      map[string]string
	LastTagged     time.Time
	SharedSize     int64 // bytes, -1 unknown
	Dangling       bool
	History        []ImageHistory // newest first
	HealthcheckSet bool           // the image asks for a health check, which is not run
}

// ImageHistory is one step of an image's making.
type ImageHistory struct {
	ID        string
	Created   time.Time
	CreatedBy string
	Comment   string
	Tags      []string
	Size      int64
	Empty     bool
}

// ImageFilter selects images as `image ls --filter` does.
type ImageFilter struct {
	All       bool
	Dangling  *bool
	Labels    []string // key or key=value
	NotLabels []string
	Before    string
	Since     string
	Until     time.Time
	Reference []string // patterns
	// WithHistory asks for History, which costs.
	WithHistory bool
}

// ImageRemoval is one line of what rm did: an untagged name or a deleted ID.
type ImageRemoval struct {
	Untagged string
	Deleted  string
}

// RegistryAuth are credentials for a registry.
type RegistryAuth struct {
	Username, Password, IdentityToken, RegistryToken, ServerAddress string

	// Reach says where registries may be; nil: anywhere.
	Reach Reach
}

// Reach tells whether somebody on whose behalf the host connects must not have
// it connect to an address.
type Reach interface {
	OffLimits(addr netip.Addr) bool
}

// Progress is one message of a pull or push.
type Progress struct {
	ID             string // layer, short; empty: about the whole
	Status         string // Docker's words: Pulling fs layer, Downloading, Pull complete, …
	Current, Total int64  // bytes; Total 0: no bar
	// Tag, Digest and Size are set on a push's last message.
	Tag, Digest string
	Size        int64
}

// SearchResult is one hit of a registry search.
type SearchResult struct {
	Name, Description   string
	Stars               int
	Official, Automated bool
}
