package client

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

// attempts returns events of the attempts from to to.
func attempts(from, to int) []Event {
	var all []Event
	for i := from; i < to; i++ {
		all = append(all, Reconnecting{Attempt: i})
	}
	return all
}

func TestHistory(t *testing.T) {
	h := history{more: make(chan struct{})}
	if got, n := h.from(0); len(got) != 0 || n != 0 {
		t.Errorf("from(0) of nothing = %v, %d", got, n)
	}
	more := h.more
	for _, e := range attempts(0, maxEvents) {
		h.add(e)
	}
	if !closed(more) || closed(h.more) {
		t.Errorf("the channel before is closed: %v, the one after: %v", closed(more), closed(h.more))
	}
	if got, n := h.from(0); n != 0 || !slices.Equal(got, attempts(0, maxEvents)) {
		t.Errorf("from(0) = %v, %d", got, n)
	}
	for _, e := range attempts(maxEvents, maxEvents+10) {
		h.add(e)
	}
	for _, tt := range []struct{ from, first int }{{0, 10}, {10, 10}, {11, 11}, {maxEvents + 9, maxEvents + 9}, {maxEvents + 10, maxEvents + 10}} {
		if got, n := h.from(tt.from); n != tt.first || !slices.Equal(got, attempts(tt.first, maxEvents+10)) {
			t.Errorf("from(%d) = %d events from %d, want from %d", tt.from, len(got), n, tt.first)
		}
	}
}

// Each call yields all events, whenever it comes, and ends with ctx, with the client, or when the
// caller has enough.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{done: make(chan struct{}), history: history{more: make(chan struct{})}}
		add := func(e Event) {
			c.mu.Lock()
			c.history.add(e)
			c.mu.Unlock()
		}
		ctx, cancel := context.WithCancel(t.Context())
		counts := make(chan int, 4)
		count := func(ctx context.Context, enough int) {
			n := 0
			for e := range c.Events(ctx) {
				if e != Event(Reconnecting{Attempt: n}) {
					t.Errorf("event %d is %#v", n, e)
				}
				if n++; n == enough {
					break
				}
			}
			counts <- n
		}
		wait := func(want int) {
			t.Helper()
			if got := <-counts; got != want {
				t.Errorf("%d events, want %d", got, want)
			}
		}
		go count(ctx, 0)
		add(Reconnecting{Attempt: 0})
		synctest.Wait()
		go count(ctx, 2)
		add(Reconnecting{Attempt: 1})
		wait(2) // it had enough
		add(Reconnecting{Attempt: 2})
		synctest.Wait()
		cancel()
		wait(3)
		add(Reconnecting{Attempt: 3})
		go count(t.Context(), 0)
		synctest.Wait()
		close(c.done)
		wait(4)
		count(t.Context(), 0)
		wait(4) // after the end, too
		count(ctx, 0)
		wait(0)
	})
}
