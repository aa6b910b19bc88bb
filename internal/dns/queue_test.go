package dns

import (
	"sync"
	"testing"
	"time"
)

// A container that asks without end, and whose answers are slow, does not hold
// up another's question, nor fill the daemon's memory.
func TestOneContainerDoesNotStarveAnother(t *testing.T) {
	var q queue
	greedy, modest := &service{container: "greedy"}, &service{container: "modest"}
	slow := make(chan struct{})
	ended := sync.OnceFunc(func() { close(slow); q.finish() })
	defer ended()
	refused := 0
	const size = 100
	fits := inFlight + laneBytes/(size+jobBytes)
	for range fits + 10 {
		q.run(greedy, size, func() { <-slow }, func() { refused++ })
	}
	if refused != 10 {
		t.Errorf("%d refused, want 10", refused)
	}
	asked := make(chan struct{})
	q.run(modest, size, func() { close(asked) }, func() { t.Error("refused for what another has waiting") })
	for range 2 { // two of the greedy one's are answered
		slow <- struct{}{}
	}
	select {
	case <-asked:
	case <-time.After(5 * time.Second):
		t.Error("still waits behind another container's questions")
	}
	ended()
	if len(q.lanes)+len(q.turn)+q.running != 0 {
		t.Errorf("left behind: %d lanes, %d turns, %d running", len(q.lanes), len(q.turn), q.running)
	}
}

func TestQueueKeepsAContainersOrder(t *testing.T) {
	var q queue
	of := &service{}
	gate := make(chan struct{})
	q.running = inFlight - 1 // one worker, so that the order shows
	q.run(of, 0, func() { <-gate }, nil)
	var got []int
	for i := range 100 {
		q.run(of, 0, func() { got = append(got, i) }, nil)
	}
	close(gate)
	q.finish()
	for i, n := range got {
		if n != i {
			t.Fatalf("order %v", got)
		}
	}
	if len(got) != 100 {
		t.Errorf("%d of 100 ran", len(got))
	}
}

// An id may belong to the next question by the time the one before lets it go.
func TestAnIDIsTakenBackFromItsOwnQuestionOnly(t *testing.T) {
	before, after := &call{}, &call{}
	sk := &sock{calls: map[uint16]*call{7: after}}
	sk.forget(7, before)
	if sk.calls[7] != after {
		t.Error("a question that waits lost its id, and its answer with it")
	}
	sk.forget(7, after)
	if len(sk.calls) != 0 {
		t.Error("an id is not given back")
	}
}
