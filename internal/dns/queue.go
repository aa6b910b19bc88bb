package dns

import "sync"

const (
	// inFlight bounds the questions that are being forwarded at once, each with
	// a goroutine of some kilobytes.
	inFlight = 4096
	// laneBytes bounds what one container's waiting questions take: some 13,000
	// usual ones. A container that asks for more hurts itself alone.
	laneBytes = 4 << 20
	// jobBytes is what a waiting question takes beside its datagram.
	jobBytes = 256
)

// queue runs jobs, at most inFlight at once. More wait in lanes, one per
// container, which take turns: however many questions one container has, and
// however slow their answers are, another's next is at most one turn away.
// None is dropped silently.
type queue struct {
	mu      sync.Mutex
	running int
	lanes   map[*service]*lane
	turn    []*lane // those in which jobs wait, the next one first
	done    sync.WaitGroup
}

// lane is the waiting jobs of one container, in their order.
type lane struct {
	of    *service
	jobs  []job
	bytes int
}

type job struct {
	run   func()
	bytes int
}

// run runs a job of a container soon, or full at once when too many of the same
// container wait already. size is that of its datagram.
func (q *queue) run(of *service, size int, run, full func()) {
	j := job{run, size + jobBytes}
	q.mu.Lock()
	switch {
	case q.running < inFlight:
		q.running++
		q.mu.Unlock()
		q.done.Go(func() { q.work(j) })
	case q.wait(of, j):
		q.mu.Unlock()
	default:
		q.mu.Unlock()
		full()
	}
}

// wait puts a job into its lane, if there is room. The caller holds mu.
func (q *queue) wait(of *service, j job) bool {
	l := q.lanes[of]
	if l == nil {
		l = &lane{of: of}
		if q.lanes == nil {
			q.lanes = map[*service]*lane{}
		}
		q.lanes[of] = l
		q.turn = append(q.turn, l)
	}
	if l.bytes+j.bytes > laneBytes {
		return false
	}
	l.jobs, l.bytes = append(l.jobs, j), l.bytes+j.bytes
	return true
}

// work runs j and then those that wait.
func (q *queue) work(j job) {
	for more := true; more; {
		j.run()
		q.mu.Lock()
		if j, more = q.next(); !more {
			q.running--
		}
		q.mu.Unlock()
	}
}

// next takes the first job of the lane whose turn it is. The caller holds mu.
func (q *queue) next() (job, bool) {
	if len(q.turn) == 0 {
		return job{}, false
	}
	l := q.turn[0]
	q.turn = q.turn[1:]
	j := l.jobs[0]
	l.jobs[0] = job{}
	l.jobs, l.bytes = l.jobs[1:], l.bytes-j.bytes
	if len(l.jobs) == 0 {
		delete(q.lanes, l.of)
	} else {
		q.turn = append(q.turn, l)
	}
	return j, true
}

func (q *queue) finish() { q.done.Wait() }
