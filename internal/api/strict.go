package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// isZeroJSON tells whether a decoded JSON value asks for nothing: null, false,
// 0, "", and lists and maps of such.
func isZeroJSON(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !isZeroJSON(e) })
	case map[string]any:
		for _, e := range v {
			if !isZeroJSON(e) {
				return false
			}
		}
		return true
	}
	return false
}

// refuseUnknown refuses a member of the JSON object data that the type of known
// has no field for and that asks for something. An option Jackstay has never
// heard of must not be dropped silently. Names in harmless are let pass; where
// names the object for the error, e.g. HostConfig.
func refuseUnknown(data json.RawMessage, where string, known any, harmless []string) error {
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		return invalid("invalid JSON: %w", err)
	}
	fields := map[string]bool{}
	jsonFields(reflect.TypeOf(known), fields)
	for _, name := range harmless {
		fields[strings.ToLower(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if fields[strings.ToLower(name)] || isZeroJSON(members[name]) {
			continue
		}
		if where != "" {
			name = where + "." + name
		}
		return unsupported("%s is not supported by Jackstay: leave it out", name)
	}
	return nil
}

// jsonFields collects the lower-case JSON names of a struct, embedded ones
// included. encoding/json matches names without regard to case.
func jsonFields(t reflect.Type, into map[string]bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			jsonFields(f.Type, into)
		case name == "":
			into[strings.ToLower(f.Name)] = true
		default:
			into[strings.ToLower(name)] = true
		}
	}
}
