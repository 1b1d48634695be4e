package discovery

import (
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

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
		{"equal payers", func(s *State) { s.For = []Payer{{"net", "session"}} }, false},
		{"another session pays", func(s *State) { s.For = []Payer{{"net", "other"}} }, true},
		{"one more pays", func(s *State) { s.For = []Payer{{"net", "session"}, {"other", "session"}} }, true},
		{"nobody pays", func(s *State) { s.For = nil }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := NewPresence(start)
			_, changed := p.State()
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
			if now, _ := p.State(); !SamePayers(now.For, s.For) {
				t.Errorf("payers %v, want %v", now.For, s.For)
			}
		})
	}
}
