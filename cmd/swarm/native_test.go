package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeNetwork yields what it is sent.
type fakeNetwork chan discovery.Sighting

func (fakeNetwork) Name() string { return "fake" }
func (fakeNetwork) Close() error { return nil }

func (n fakeNetwork) Join(ctx context.Context, _ wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		for {
			select {
			case s := <-n:
				if !yield(s, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// nothing is a circuit that no handler of this test touches.
type nothing struct{ discovery.Stream }

// script is a handler, and the dials of a peer, which end as the test says. It notes the times.
type script struct {
	start time.Time

	mu     sync.Mutex
	dials  []error         // guarded by mu; of the next dials, nil for a circuit
	ends   []error         // guarded by mu; of the next circuits, nil for a regular end
	dialed []time.Duration // guarded by mu; when, since start
}

func (s *script) dial(context.Context, wtproto.EndpointID) (discovery.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialed = append(s.dialed, time.Since(s.start))
	var err error
	if len(s.dials) > 0 {
		err, s.dials = s.dials[0], s.dials[1:]
	}
	return nothing{}, err
}

func (s *script) handle(ctx context.Context, _ int, _ circuit) (traffic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ends) == 0 {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return traffic{}, ctx.Err()
	}
	err := s.ends[0]
	s.ends = s.ends[1:]
	return traffic{}, err
}

// times returns when the peer was dialed.
func (s *script) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dialed)
}

// runNative runs a native peer with s until the bubble's test ends.
func runNative(t *testing.T, s *script) fakeNetwork {
	t.Helper()
	return runStreams(t, s, true)
}

// runStreams is runNative, and says whether the peer takes further circuits.
func runStreams(t *testing.T, s *script, streams bool) fakeNetwork {
	t.Helper()
	s.start = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	v := newNativePeer(&program{ctx: ctx, events: newEvents(io.Discard, true, log, func(error) {}), log: log}, s, streams)
	n, done := make(fakeNetwork), make(chan struct{})
	go func() {
		defer close(done)
		v.run(ctx, wtproto.Topic{}, []discovery.Network{n})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return n
}

// sighted is a sighting of peer id that s dials.
func (s *script) sighted(id string, holds time.Duration) discovery.Sighting {
	return discovery.Sighting{Peer: discovery.Peer{Network: "fake", ID: id}, Holds: holds, Dial: s.dial}
}

func lost() error { return &wtproto.Error{Code: wtproto.CodePeerGone} }

func TestPeerIsDialedOnceAndAgainAfterItWasLost(t *testing.T) {
	for _, c := range []struct {
		name        string
		dials, ends []error
		want        int // dials within an hour
	}{
		{"stays", nil, nil, 1},
		{"ends regularly", nil, []error{nil}, 1},
		{"is lost", nil, []error{lost(), lost()}, 3},
		{"cannot be reached", []error{&wtproto.Error{Code: wtproto.CodePeerUnreachable}, fmt.Errorf("p2p: %w", lost())}, nil, 3},
		{"has no room", []error{&wtproto.Error{Code: wtproto.CodeBusy, Remote: true}}, nil, 2},
		{"declines", nil, []error{&wtproto.Error{Code: wtproto.CodeDeclined, Remote: true}}, 1},
		{"is forbidden", []error{&wtproto.Error{Code: wtproto.CodeForbidden}}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{dials: c.dials, ends: c.ends}
				n := runNative(t, s)
				for range 6 {
					n <- s.sighted("a", 10*time.Minute)
					time.Sleep(10 * time.Minute) // virtual
				}
				if got := s.times(); len(got) != c.want || got[0] != 0 {
					t.Errorf("dialed at %v, want %d times, at once", got, c.want)
				}
			})
		})
	}
}

func TestRetriesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 100 {
			s.dials = append(s.dials, &wtproto.Error{Code: wtproto.CodePeerUnreachable})
		}
		n := runNative(t, s)
		n <- s.sighted("a", 15*time.Minute)
		time.Sleep(time.Hour) // virtual
		times := s.times()
		for i := range times[1:] {
			if gap := times[i+1] - times[i]; gap < retryMin || gap > retryMax {
				t.Errorf("retry %d after %v, want %v to %v", i, gap, retryMin, retryMax)
			}
		}
		if last := times[len(times)-1]; last < 10*time.Minute || last > 15*time.Minute {
			t.Errorf("last dialed after %v, want until it was not to be remembered any more, 15m", last)
		}
	})
}

func TestPeerThatLeftAndCameBackIsDialedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{ends: []error{nil, nil, nil}}
		n := runNative(t, s)
		n <- s.sighted("a", -1)
		synctest.Wait()
		n <- s.sighted("a", -1)
		synctest.Wait()
		if got := s.times(); len(got) != 1 {
			t.Fatalf("dialed %d times before it left, want 1", len(got))
		}
		n <- discovery.Sighting{Peer: discovery.Peer{ID: "a"}, Gone: true}
		n <- s.sighted("a", time.Minute)
		synctest.Wait()
		if got := s.times(); len(got) != 2 {
			t.Fatalf("dialed %d times after it left and came back, want 2", len(got))
		}
		time.Sleep(2 * time.Minute) // virtual; no network reports it
		n <- s.sighted("a", time.Minute)
		synctest.Wait()
		if got := s.times(); len(got) != 3 {
			t.Errorf("dialed %d times after it was not seen for long, want 3", len(got))
		}
	})
}

func TestGoneEndsTheRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{dials: []error{lost()}}
		n := runNative(t, s)
		n <- s.sighted("a", -1)
		synctest.Wait()
		n <- discovery.Sighting{Peer: discovery.Peer{ID: "a"}, Gone: true}
		time.Sleep(time.Hour) // virtual
		if got := s.times(); len(got) != 1 {
			t.Errorf("dialed at %v, want once", got)
		}
	})
}

// asked is an inbound circuit that notes its answer.
type asked struct {
	nothing
	further           bool
	accepted, refused chan wtproto.Code
}

func (a *asked) To() wtproto.EndpointID { return wtproto.EndpointID{} }
func (a *asked) Further() bool          { return a.further }

func (a *asked) Accept() (discovery.Stream, error) {
	a.accepted <- wtproto.CodeNone
	return a.nothing, nil
}

func (a *asked) Refuse(code wtproto.Code) { a.refused <- code }

func TestInboundCircuitsAreTakenUpToALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runNative(t, &script{})
		a := &asked{accepted: make(chan wtproto.Code, maxNativeCircuits+1), refused: make(chan wtproto.Code, maxNativeCircuits+1)}
		for range maxNativeCircuits {
			n <- discovery.Sighting{Inbound: a}
		}
		synctest.Wait()
		if len(a.accepted) != maxNativeCircuits || len(a.refused) != 0 {
			t.Fatalf("%d accepted, %d refused; want all of %d accepted", len(a.accepted), len(a.refused), maxNativeCircuits)
		}
		n <- discovery.Sighting{Inbound: a}
		if code := <-a.refused; code != wtproto.CodeBusy {
			t.Errorf("refused with %v, want BUSY", code)
		}
	})
}

// A peer whose circuits all share its standard input and output takes one of each peer: the peer's
// second would get the same input once more.
func TestFurtherCircuitsAreDeclinedByOneThatTakesOne(t *testing.T) {
	for _, streams := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := runStreams(t, &script{}, streams)
			a := &asked{accepted: make(chan wtproto.Code, 8), refused: make(chan wtproto.Code, 8)}
			n <- discovery.Sighting{Inbound: a}
			more := &asked{further: true, accepted: a.accepted, refused: a.refused}
			for range 2 {
				n <- discovery.Sighting{Inbound: more}
			}
			synctest.Wait()
			if streams {
				if len(a.accepted) != 3 || len(a.refused) != 0 {
					t.Errorf("%d accepted, %d refused, want 3 accepted", len(a.accepted), len(a.refused))
				}
				return
			}
			if len(a.accepted) != 1 || len(a.refused) != 2 {
				t.Fatalf("%d accepted, %d refused, want the first one and 2", len(a.accepted), len(a.refused))
			}
			if code := <-a.refused; code != wtproto.CodeDeclined {
				t.Errorf("refused with %v, want DECLINED", code)
			}
		})
	}
}

func TestPeersAreForgottenWhenThereAreTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 3 * maxNativePeers {
			s.ends = append(s.ends, nil)
		}
		n := runNative(t, s)
		for i := range maxNativePeers + 1 {
			n <- s.sighted(fmt.Sprint(i), time.Minute)
		}
		synctest.Wait()
		if got := len(s.times()); got != maxNativePeers {
			t.Fatalf("%d dialed, want %d", got, maxNativePeers)
		}
		time.Sleep(2 * time.Minute) // virtual
		n <- s.sighted("new", time.Minute)
		synctest.Wait()
		if got := len(s.times()); got != maxNativePeers+1 {
			t.Errorf("%d dialed after the others had expired, want one more", got)
		}
	})
}
