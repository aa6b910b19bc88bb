package api

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filterSet is the filters parameter: keys, each with the values asked for.
// Several values of a key are alternatives, several keys must all match.
type filterSet map[string][]string

// parseFilters reads {"key":{"value":true}} and the older {"key":["value"]},
// and refuses keys other than those accepted.
func parseFilters(s string, accepted ...string) (filterSet, error) {
	f := filterSet{}
	if s == "" {
		return f, nil
	}
	var now map[string]map[string]bool
	if err := json.Unmarshal([]byte(s), &now); err == nil {
		for key, values := range now {
			for _, v := range slices.Sorted(maps.Keys(values)) {
				if values[v] {
					f[key] = append(f[key], v)
				}
			}
		}
	} else if err := json.Unmarshal([]byte(s), &f); err != nil {
		return nil, invalid("invalid filter: %s is not a map of lists: %w", s, err)
	}
	for key := range f {
		if !slices.Contains(accepted, key) {
			return nil, invalid("invalid filter '%s'", key)
		}
	}
	return f, nil
}

// boolean reads a filter that is true or false; absent gives nil.
func (f filterSet) boolean(key string) (*bool, error) {
	values, ok := f[key]
	if !ok || len(values) == 0 {
		return nil, nil
	}
	var result *bool
	for _, v := range values {
		b, err := parseFilterBool(v)
		if err != nil || (result != nil && *result != b) {
			return nil, invalid("invalid filter '%s=%s': must be true or false", key, strings.Join(values, ","))
		}
		result = &b
	}
	return result, nil
}

func parseFilterBool(s string) (bool, error) {
	switch s {
	case "1", "true", "True":
		return true, nil
	case "0", "false", "False":
		return false, nil
	}
	return strconv.ParseBool(s)
}

// exact tells whether value is one of the key's, or the key is not asked for.
func (f filterSet) exact(key, value string) bool {
	values, ok := f[key]
	return !ok || slices.Contains(values, value)
}

// prefix tells whether value starts with one of the key's.
func (f filterSet) prefix(key, value string) bool {
	values, ok := f[key]
	return !ok || slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(value, v) })
}

// pattern matches as Docker's name filters do: equal, or as a regular
// expression found anywhere in value.
func (f filterSet) pattern(key, value string) bool {
	values, ok := f[key]
	return !ok || slices.ContainsFunc(values, func(v string) bool {
		if v == value {
			return true
		}
		matched, err := regexp.MatchString(v, value)
		return err == nil && matched
	})
}

// labels matches label and label!: each label=x (key or key=value) must be
// there, and not all of those of label! may be.
func (f filterSet) labels(have map[string]string) bool {
	for _, want := range f["label"] {
		if !hasLabel(have, want) {
			return false
		}
	}
	not, ok := f["label!"]
	return !ok || !slices.ContainsFunc(not, func(want string) bool { return hasLabel(have, want) })
}

func hasLabel(have map[string]string, want string) bool {
	key, value, valued := strings.Cut(want, "=")
	got, ok := have[key]
	return ok && (!valued || got == value)
}

// until reads prune's until: a Unix time, a date, or a duration before now.
// The zero time means that it was not given.
func (f filterSet) until(now time.Time) (time.Time, error) {
	values := f["until"]
	switch len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		return parseMoment(values[0], now)
	}
	return time.Time{}, invalid("more than one until filter specified")
}

// parseMoment reads what Docker's clients pass on as a point in time.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if t, err := unixTime(s); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("invalid time %q: use a Unix time, a date such as 2026-01-31T12:00:00 or a duration such as 10m", s)
}
