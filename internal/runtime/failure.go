//go:build linux

package runtime

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
)

// Exit codes of a program that can't be run, as shells and Docker give them.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// lastRuntimeError gives the last error in an OCI runtime's JSON log; empty: none.
func lastRuntimeError(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	last := ""
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			last = entry.Msg
		}
	}
	return last
}

// startFailure puts an OCI runtime's message into Docker's words, prefix
// included, and tells a program that is not there or can't be executed from
// everything else. The words and their order are moby's, daemon/errors.go.
func startFailure(prefix, message string) error {
	message = strings.TrimSpace(message)
	code := 0
	lower := strings.ToLower(message)
	switch {
	case strings.Contains(lower, "permission denied"), strings.Contains(lower, "exec format error"):
		code = codeNotExecutable
	case strings.Contains(lower, "is a directory"):
		// docker's CLI looks for these words to exit with 126.
		message += ": permission denied"
		code = codeNotExecutable
	case strings.Contains(lower, "not a directory"):
		message += ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
		code = codeNotFound
	case strings.Contains(lower, "executable file not found"), strings.Contains(lower, "no such file or directory"):
		code = codeNotFound
	}
	err := errs.New(errs.Unknown, "%s%s: unknown", prefix, message)
	if code == 0 {
		return err
	}
	return &engine.StartError{Code: code, Err: errs.Wrap(errs.Invalid, err)}
}
