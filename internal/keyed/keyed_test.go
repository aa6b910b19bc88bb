package keyed

import (
	"fmt"
	"sync"
	"testing"
)

func TestOneHolderPerName(t *testing.T) {
	var k Mutexes
	var wg sync.WaitGroup
	inside := make([]int, 3) // the race detector and the sum tell of two holders
	for n := range 300 {
		wg.Go(func() {
			defer k.Lock(fmt.Sprint(n % 3))()
			inside[n%3]++
		})
	}
	wg.Wait()
	for n, sum := range inside {
		if sum != 100 {
			t.Errorf("name %d: %d of 100", n, sum)
		}
	}
	if len(k.m) != 0 {
		t.Errorf("%d mutexes nobody holds or wants are kept", len(k.m))
	}
}

func TestNamesDoNotWaitForEachOther(t *testing.T) {
	var k Mutexes
	defer k.Lock("a")()
	k.Lock("b")() // would hang
}
