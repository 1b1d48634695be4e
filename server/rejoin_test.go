package server

import (
	"io"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A page left its topic and joined it again, and the page at the other end had not ended its own
// half of their circuit. After that had ended too, the two were never connected again: the circuit
// was taken for one of the new membership, although it came from before.
func TestJoinAgainMeetsAfterOldCircuit(t *testing.T) {
	for name, finish := range map[string]struct {
		first, last func(t *testing.T, left, stayed *fakeStream)
	}{
		"the other half ends after the join": {
			first: func(_ *testing.T, left, _ *fakeStream) { left.CloseWrite() },
			last:  func(_ *testing.T, _, stayed *fakeStream) { stayed.CloseWrite() },
		},
		"both halves end after the join": {
			first: func(*testing.T, *fakeStream, *fakeStream) {},
			last:  func(_ *testing.T, left, stayed *fakeStream) { left.CloseWrite(); stayed.CloseWrite() },
		},
		"the one that stayed resets": {
			first: func(_ *testing.T, left, _ *fakeStream) { left.CloseWrite() },
			last:  func(_ *testing.T, _, stayed *fakeStream) { reset(stayed, wtproto.CodeApplication) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				left, stayed := g.connect(), g.connect()
				left.join(announceAndLookUp, 0)
				stayed.join(announceAndLookUp, 0)
				x, y := left.circuit(), stayed.circuit()
				talk(t, x, y)
				finish.first(t, x.fakeStream, y.fakeStream)
				left.leave()
				left.join(announceAndLookUp, 0)
				pass(15 * time.Second)
				if left.streams() != 0 || stayed.streams() != 0 {
					t.Fatal("a second circuit of a pair whose first one is open")
				}
				finish.last(t, x.fakeStream, y.fakeStream)
				go io.Copy(io.Discard, x)
				go io.Copy(io.Discard, y)
				pass(time.Second)
				x, y = left.circuit(), stayed.circuit()
				talk(t, x, y)

				// That one is of the new membership, and its end is the pair's.
				x.CloseWrite()
				y.CloseWrite()
				pass(time.Minute)
				if left.streams() != 0 || stayed.streams() != 0 {
					t.Errorf("made again after the end: %d and %d streams", left.streams(), stayed.streams())
				}
			})
		})
	}
}
