package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
)

// The API versions spoken: from that of Docker 1.9 to that of
// github.com/moby/moby/api v1.55 (client.MaxAPIVersion).
const (
	MinVersion = "1.21"
	MaxVersion = "1.55"
)

// apiVersion is a version of the API. All there ever were have major 1, so the
// minor number orders them.
type apiVersion int

var minVersion, maxVersion = mustVersion(MinVersion), mustVersion(MaxVersion)

func (v apiVersion) String() string { return fmt.Sprintf("1.%d", int(v)) }

// before tells whether v is older than 1.minor.
func (v apiVersion) before(minor int) bool { return int(v) < minor }

func mustVersion(s string) apiVersion {
	v, ok := parseVersion(s)
	if !ok {
		panic("api: bad version " + s)
	}
	return v
}

// parseVersion reads 1.N.
func parseVersion(s string) (apiVersion, bool) {
	minor, ok := strings.CutPrefix(s, "1.")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(minor, 10, 16)
	if err != nil {
		return 0, false
	}
	return apiVersion(n), true
}

// splitVersion takes the optional /vN.M off a path. A path without one asks
// for the newest version.
func splitVersion(path string) (v apiVersion, rest string, err error) {
	first, tail, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	number, ok := strings.CutPrefix(first, "v")
	if !ok || !looksLikeVersion(number) {
		return maxVersion, path, nil
	}
	rest = "/" + tail
	v, ok = parseVersion(number)
	switch {
	case !ok && strings.HasPrefix(number, "0."), ok && v < minVersion:
		return 0, "", errs.New(errs.Invalid, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", number, MinVersion)
	case !ok || v > maxVersion:
		return 0, "", errs.New(errs.Invalid, "client version %s is too new. Maximum supported API version is %s", number, MaxVersion)
	}
	return v, rest, nil
}

// looksLikeVersion tells 1.44 from the first part of some other path.
func looksLikeVersion(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789.") == ""
}

type versionKey struct{}

func withVersion(ctx context.Context, v apiVersion) context.Context {
	return context.WithValue(ctx, versionKey{}, v)
}

func versionOf(ctx context.Context) apiVersion {
	if v, ok := ctx.Value(versionKey{}).(apiVersion); ok {
		return v
	}
	return maxVersion
}
