//go:build linux

package runtime

import (
	"bytes"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// maxLogLine bounds what is joined from partial lines before it is passed on.
const maxLogLine = 1 << 20

// logRecord is a line of a k8s-file log: TIME STREAM F|P TEXT, where F ends a
// line of output and P is a part of one.
type logRecord struct {
	time   time.Time
	stderr bool
	full   bool
	text   []byte
}

// parseRecord reads a line without its newline; false: it is none of conmon's.
func parseRecord(line []byte) (logRecord, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return logRecord{}, false
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return logRecord{}, false
	}
	tag, text, _ := bytes.Cut(rest, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil || len(tag) == 0 {
		return logRecord{}, false
	}
	// conmon may append more tags with a colon, F:TAG.
	rec := logRecord{time: at, full: tag[0] == 'F', text: text}
	switch string(stream) {
	case "stdout":
	case "stderr":
		rec.stderr = true
	default:
		return logRecord{}, false
	}
	return rec, true
}

// joiner makes lines of records, for each stream by itself.
type joiner struct {
	partial [2][]byte // stdout, stderr
	since   [2]time.Time
}

// add gives a line when it is complete, or too long to wait for its end.
func (j *joiner) add(rec logRecord) (model.LogLine, bool) {
	i := index(rec.stderr)
	if len(j.partial[i]) == 0 {
		j.since[i] = rec.time
	}
	j.partial[i] = append(j.partial[i], rec.text...)
	if rec.full {
		j.partial[i] = append(j.partial[i], '\n')
	} else if len(j.partial[i]) < maxLogLine {
		return model.LogLine{}, false
	}
	return j.take(i), true
}

func (j *joiner) take(i int) model.LogLine {
	line := model.LogLine{Time: j.since[i], Stderr: i == 1, Data: j.partial[i]}
	j.partial[i] = nil
	return line
}

// rest gives what has no end yet, the older first.
func (j *joiner) rest() []model.LogLine {
	var out []model.LogLine
	order := [2]int{0, 1}
	if j.since[1].Before(j.since[0]) {
		order = [2]int{1, 0}
	}
	for _, i := range order {
		if len(j.partial[i]) > 0 {
			out = append(out, j.take(i))
		}
	}
	return out
}

func index(stderr bool) int {
	if stderr {
		return 1
	}
	return 0
}
