package discovery

import (
	"slices"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Each network hears of the endpoints that want it.
func TestEndpointsFor(t *testing.T) {
	s := State{
		Endpoints:        []wtproto.EndpointID{{1}, {2}, {3}},
		EndpointNetworks: map[wtproto.EndpointID][]string{{2}: {"lan"}, {3}: {"dht", "static"}},
	}
	for name, want := range map[string][]wtproto.EndpointID{"dht": {{1}, {3}}, "lan": {{1}, {2}}, "other": {{1}}} {
		if got := s.EndpointsFor(name); !slices.Equal(got, want) {
			t.Errorf("endpoints for %s: %v, want %v", name, got, want)
		}
	}
}

// Whoever waits for a change is told of each one, and of nothing else.
func TestPresenceChanges(t *testing.T) {
	start := State{Announce: true, Endpoints: []wtproto.EndpointID{{1}}, For: []Payer{{"net", "session"}}}
	for _, tc := range []struct {
		name   string
		change func(*State)
		want   bool
	}{
		{"nothing", func(*State) {}, false},
		{"announces no more", func(s *State) { s.Announce = false }, true},
		{"looks up", func(s *State) { s.LookUp = true }, true},
		{"wants one", func(s *State) { s.Want = 1 }, true},
		{"another endpoint", func(s *State) { s.Endpoints = []wtproto.EndpointID{{2}} }, true},
		{"an endpoint wants the LAN only", func(s *State) { s.EndpointNetworks = map[wtproto.EndpointID][]string{{1}: {"lan"}} }, true},
		{"equal payers", func(s *State) { s.For = []Payer{{"net", "session"}} }, false},
		{"another session pays", func(s *State) { s.For = []Payer{{"net", "other"}} }, true},
		{"one more pays", func(s *State) { s.For = []Payer{{"net", "session"}, {"other", "session"}} }, true},
		{"nobody pays", func(s *State) { s.For = nil }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := NewPresence(start)
			_, changed := p.State()
			w, former := new(countingWatcher), new(countingWatcher)
			p.Watch(former)
			p.Watch(w)
			p.Unwatch(former)
			s := start
			tc.change(&s)
			p.Set(s)
			told := false
			select {
			case <-changed:
				told = true
			default:
			}
			if told != tc.want {
				t.Errorf("told of a change: %v, want %v", told, tc.want)
			}
			if *w > 0 != tc.want || *w > 1 || *former > 0 {
				t.Errorf("a watcher was told %d times, and a former one %d times", *w, *former)
			}
			if now, _ := p.State(); !SamePayers(now.For, s.For) {
				t.Errorf("payers %v, want %v", now.For, s.For)
			}
		})
	}
}

// countingWatcher counts the changes that it is told of.
type countingWatcher int

func (w *countingWatcher) PresenceChanged() { *w++ }
