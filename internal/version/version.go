// Package version says which Jackstay this is.
package version

// Version is the release; Commit is set by the linker (-X) to the revision
// that was built.
const Version = "0.1.0"

// Commit is the short revision, or unknown when built without the Makefile.
var Commit = "unknown"

// Time is when that revision was committed, in RFC 3339: the same revision always
// builds the same. Set and unknown as Commit is.
var Time = "unknown"
