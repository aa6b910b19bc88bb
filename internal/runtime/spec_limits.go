//go:build linux

package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// ulimits are setrlimit(2)'s resources by the names of --ulimit.
var ulimits = map[string]int{
	"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

// rlimits checks --ulimit; -1 is unlimited. Nobody without CAP_SYS_RESOURCE
// raises a hard limit, the daemon and its containers neither.
func rlimits(asked []model.Ulimit) ([]specs.POSIXRlimit, error) {
	var out []specs.POSIXRlimit
	for _, u := range asked {
		resource, ok := ulimits[u.Name]
		if !ok {
			return nil, errs.New(errs.Invalid, "invalid ulimit type: %s", u.Name)
		}
		soft, hard := uint64(u.Soft), uint64(u.Hard) // -1 becomes RLIM_INFINITY
		if soft > hard {
			return nil, errs.New(errs.Invalid, "ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return nil, fmt.Errorf("ulimit %s: %w", u.Name, err)
		}
		if hard > now.Max && !bounded(capability.CAP_SYS_RESOURCE) {
			return nil, errs.New(errs.Invalid, "ulimit %s: the hard limit %d is above the daemon's own, %d, and the daemon has no CAP_SYS_RESOURCE to raise it",
				u.Name, u.Hard, now.Max)
		}
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: soft, Hard: hard})
	}
	return out, nil
}

// oomScore gives the oom_score_adj to write. Without CAP_SYS_RESOURCE it can't
// go below the daemon's own: an error if a lower one is asked for, and the
// daemon's own if nothing is.
func oomScore(asked int) (*int, error) {
	if asked < -1000 || asked > 1000 {
		return nil, errs.New(errs.Invalid, "invalid value %d, range for oom score adj is [-1000, 1000]", asked)
	}
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil, fmt.Errorf("oom score: %w", err)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("oom score: %w", err)
	}
	if asked >= own || bounded(capability.CAP_SYS_RESOURCE) {
		return &asked, nil
	}
	if asked == 0 {
		return nil, nil
	}
	return nil, errs.New(errs.Invalid, "--oom-score-adj %d is below the daemon's own, %d, and the daemon has no CAP_SYS_RESOURCE to lower it", asked, own)
}

// bounded tells whether a capability is in the daemon's bounding set.
func bounded(c capability.Cap) bool {
	ok, err := capability.GetBound(c)
	return err == nil && ok
}
