// Package freeport finds ports for tests that listen on one later, once more, or in another
// program.
//
// A port that the kernel has chosen, for ":0", may be somebody else's as soon as it is free for a
// moment: the kernel gives it to the next who asks, for example to a connection of another test.
// The ports of this package are ones that no kernel chooses by itself.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Linux chooses from 32,768 on, others from 49,152.
const lowest, highest = 10_000, 32_767

var (
	mu    sync.Mutex
	given = make(map[int]bool) // guarded by mu
)

// Address returns an address of loopback on which nobody listens, by TCP or UDP. A connection to
// it is refused until somebody does.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Ports(t, 1))
}

// Ports returns the first of n ports in a row that are free at all addresses, for TCP and UDP. It
// returns each port once.
func Ports(t testing.TB, n int) (first int) {
	t.Helper()
	first, err := Find(n)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// Find is [Ports] for a program that is no test.
func Find(n int) (first int, err error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		first = lowest + rand.IntN(highest-lowest-n)
		if allFree(first, n) {
			for i := range n {
				given[first+i] = true
			}
			return first, nil
		}
	}
	return 0, fmt.Errorf("freeport: there are no %d free ports in a row", n)
}

// allFree reports whether n ports are free and were not given yet. It holds mu.
func allFree(first, n int) bool {
	for p := first; p < first+n; p++ {
		if given[p] || !isFree(p) {
			return false
		}
	}
	return true
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	c.Close()
	return true
}
