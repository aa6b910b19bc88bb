package reconcile

import "time"

// trial is the last attempt at something: how it failed and when it is tried
// again. The zero value is no failure.
type trial struct {
	err   error
	rev   uint64 // the revision that was being applied
	at    time.Time
	delay time.Duration
}

// fail records a failure and puts off the next attempt, twice as long as the
// last one. It tells whether this is news worth a line of log.
func (t *trial) fail(err error, rev uint64, o *Options) (news bool) {
	news = t.err == nil || t.err.Error() != err.Error()
	t.delay = min(max(2*t.delay, o.RetryMin), o.RetryMax)
	t.err, t.rev, t.at = err, rev, time.Now().Add(t.delay)
	return news
}

// due tells whether it may be tried now.
func (t *trial) due(now time.Time) bool { return t.err == nil || !t.at.After(now) }

// verdict is what a waiter for rev is told: nothing, or the failure. An
// attempt older than rev says nothing, so the next one is hurried.
func (t *trial) verdict(rev uint64) (err error, hurry bool) {
	switch {
	case t.err == nil:
		return nil, false
	case t.rev >= rev:
		return t.err, false
	}
	t.at = time.Time{}
	return nil, true
}
