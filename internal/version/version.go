// Package version says which Jackstay this is.
package version

import "runtime/debug"

// Version is the release; Commit is set by the linker (-X) to the revision
// that was built.
const Version = "0.1.0"

// Commit is the short revision, or unknown when built without the Makefile.
var Commit = "unknown"

// Time is when the revision that was built was committed, in RFC 3339, so that
// the same revision always builds the same; unknown when built outside its
// repository.
func Time() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				return s.Value
			}
		}
	}
	return "unknown"
}
