package server_test

import (
	"bytes"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"
)

// A service that is silent costs no goroutine: only the client's stream has one that waits.
func TestSilentServiceHasNoGoroutine(t *testing.T) {
	s, open := withService(t)
	c := open(t)
	passThrough(t, c.near, c.far)
	passThrough(t, c.far, c.near)
	for late, looks := time.Now().Add(time.Minute), 0; looks < 20; time.Sleep(10 * time.Millisecond) {
		copies := countGoroutines(t, "server.(*direction).run+")
		if looks++; copies == 1 {
			continue
		}
		if looks = 0; time.Now().After(late) {
			t.Fatalf("%d goroutines copy for a circuit at rest, want one", copies)
		}
		s.RestAll()
	}
	passThrough(t, c.far, c.near) // and it goes on
	passThrough(t, c.near, c.far)
}

// countGoroutines counts those that run a function, which is as their profile has it.
func countGoroutines(t *testing.T, function string) int {
	t.Helper()
	var text bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		t.Fatal(err)
	}
	count := 0
	for group := range bytes.SplitSeq(text.Bytes(), []byte("\n\n")) {
		if !bytes.Contains(group, []byte(function)) {
			continue
		}
		for line := range bytes.Lines(group) {
			before, _, found := bytes.Cut(line, []byte(" @ "))
			if !found {
				continue
			}
			n, err := strconv.Atoi(string(before))
			if err != nil {
				continue // the total: "goroutine profile: total N"
			}
			count += n
		}
	}
	return count
}
