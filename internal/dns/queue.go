package dns

import "sync"

const (
	// inFlight bounds the questions that are being forwarded at once, each with
	// a goroutine of some kilobytes; waiting bounds those that wait for that,
	// each with its datagram.
	inFlight = 4096
	waiting  = 1 << 16
)

// queue runs jobs, at most inFlight at once; more wait in their order. None is
// dropped silently.
type queue struct {
	mu      sync.Mutex
	running int
	jobs    []func()
	done    sync.WaitGroup
}

// run runs job soon, or full at once when too many wait already.
func (q *queue) run(job, full func()) {
	q.mu.Lock()
	switch {
	case q.running < inFlight:
		q.running++
		q.mu.Unlock()
		q.done.Go(func() { q.work(job) })
	case len(q.jobs) < waiting:
		q.jobs = append(q.jobs, job)
		q.mu.Unlock()
	default:
		q.mu.Unlock()
		full()
	}
}

// work runs job and then those that wait.
func (q *queue) work(job func()) {
	for job != nil {
		job()
		q.mu.Lock()
		job = nil
		if len(q.jobs) > 0 {
			job, q.jobs = q.jobs[0], q.jobs[1:]
		} else {
			q.running--
		}
		q.mu.Unlock()
	}
}

func (q *queue) wait() { q.done.Wait() }
