package p2p

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// With 1,000 topics on a gateway and walks of 3 s, as they take on the Amino DHT, a newcomer
// waited 42 s until its topic was looked up for the first time, and 13 minutes with 10,000: all
// look-ups waited in one line, each topic's once a minute.
func TestNewcomerWaitsItsTurnOnly(t *testing.T) {
	for _, tc := range []struct {
		name, others, newcomer string
		within                 time.Duration
	}{
		// The next walk that the rate allows is its.
		{"of another principal", "a/s", "b/s", 500 * time.Millisecond},
		// Its principal may have as many walks as it can at once, of which one must end.
		{"of another session", "a/s", "a/t", 3500 * time.Millisecond},
		{"of another address in a network", "a/1/s", "a/2/s", 3500 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestPlanner(t, newFakeWalker(3*time.Second), Public, nil)
				for range 1000 {
					p.join(t, tc.others)
				}
				for _, wait := range []time.Duration{time.Second, time.Minute} {
					time.Sleep(wait)
					joined := time.Now()
					f := p.join(t, tc.newcomer)
					time.Sleep(10 * time.Second)
					p.wantFirst(t, fmt.Sprintf("after %v", wait), f, joined, tc.within)
					p.end(f)
				}
				p.w.mu.Lock()
				defer p.w.mu.Unlock()
				if p.w.most[chLookUp] > 64 || p.w.most[chAnnounce] > 16 {
					t.Errorf("%d look-ups and %d announcements at once, want at most 64 and 16", p.w.most[chLookUp], p.w.most[chAnnounce])
				}
			})
		})
	}
}

// rarelyTended spares a test the hosts that are known without the DHT.
func rarelyTended(s *settings) { s.LookUpEvery = 30 * time.Minute }

// 200 sessions with 64 topics each made that an honest peer was not found in 60 s.
func TestHammersShutNobodyOut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		payer func(session int) string
	}{
		{"of one principal", func(s int) string { return fmt.Sprintf("hammer/%d", s) }},
		{"of a principal each", func(s int) string { return fmt.Sprintf("hammer %d/s", s) }},
		{"of addresses of one network", func(s int) string { return fmt.Sprintf("net/%d/s", s) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestPlanner(t, newFakeWalker(3*time.Second), Public, rarelyTended)
				var theirs [][]*fakeTopic
				for s := range 200 {
					var topics []*fakeTopic
					for range 64 {
						topics = append(topics, p.join(t, tc.payer(s)))
					}
					theirs = append(theirs, topics)
				}
				// Each has had a turn; then they leave their topics for new ones, without end.
				hammer := func() {
					for s, topics := range theirs {
						p.end(topics[0])
						theirs[s] = append(topics[1:], p.join(t, tc.payer(s)))
					}
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				for range 5 {
					hammer()
				}
				joined := time.Now()
				f := p.join(t, "honest/s")
				for range 5 {
					hammer()
				}
				p.wantFirst(t, "the honest one", f, joined, 500*time.Millisecond)

				// It goes on being looked up and announced.
				p.change(f, func(s *discovery.State) { s.Endpoints = append(s.Endpoints, endpoint(2)) })
				before, _ := p.w.times(f.digest, joined)
				for range 5 {
					hammer()
				}
				time.Sleep(45 * time.Second) // 200 principals have five look-ups a second
				if after, _ := p.w.times(f.digest, joined); len(after) == len(before) {
					t.Errorf("looked up %v, and not once more in a minute", before)
				}
			})
		})
	}
}

// A private DHT with 10,000 topics cost 20 to 50 % of a core for ever, and five goroutines a
// topic.
func TestTopicsAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics = 2000 // of 10,000 there are five times as many look-ups and announcements
		before := runtime.NumGoroutine()
		w := newFakeWalker(50 * time.Millisecond)
		w.shared = 0 // the hosts are few, so that all keep everything
		p := newTestPlanner(t, w, Private, nil)
		for i := range topics {
			p.join(t, fmt.Sprintf("%d/%d", i%100, i%1000))
		}
		time.Sleep(40 * time.Minute) // until they are at rest
		if n := runtime.NumGoroutine() - before; n > 2*100 {
			t.Errorf("%d goroutines for %d topics", n, topics)
		}
		w.reset()
		time.Sleep(time.Hour)
		lookUps, announcements, walks := w.count()
		t.Logf("in an hour: %d look-ups, %d announcements on %d walks", lookUps, announcements, walks)
		if most := topics * 5; lookUps > most || lookUps < topics { // each 15 to 30 min
			t.Errorf("%d look-ups in an hour, want %d to %d", lookUps, topics, most)
		}
		if least, most := topics*5, topics*9; announcements < least || announcements > most { // each 7.5 to 10 min
			t.Errorf("%d announcements in an hour, want %d to %d", announcements, least, most)
		}
		if most := announcements / 100; walks > most {
			t.Errorf("%d walks to announce, want at most %d", walks, most)
		}
	})
}

// seconds returns times rounded for people.
func seconds(ds []time.Duration) (s []float64) {
	for _, d := range ds {
		s = append(s, d.Round(100*time.Millisecond).Seconds())
	}
	return s
}

// wantPace fails unless the delays between times grow from 0.5 s to the double each, up to 15 to
// 30 min.
func wantPace(t *testing.T, what string, at []time.Duration) {
	t.Helper()
	low := 500 * time.Millisecond
	for i := 1; i < len(at); i++ {
		if d := at[i] - at[i-1]; d < low-time.Second/10 || d > min(2*low, 30*time.Minute)+time.Second/10 {
			t.Errorf("%s: look-up %d came after %v, want %v to %v: %v", what, i, d, low, 2*low, seconds(at))
		}
		low = min(2*low, 15*time.Minute)
	}
}

// A topic is looked up often at first, and seldom while nothing changes or while its subscribers
// have what they want.
func TestLookUpPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWalker(0)
		p := newTestPlanner(t, w, Public, nil)
		f := p.join(t, "a/s")
		since := time.Now()
		// next returns the times of look-ups for so long after do.
		next := func(d time.Duration, do func()) []time.Duration {
			synctest.Wait()
			w.reset()
			since = time.Now()
			do()
			time.Sleep(d)
			synctest.Wait()
			at, _ := w.times(f.digest, since)
			return at
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		at, _ := w.times(f.digest, since)
		if len(at) < 15 || len(at) > 25 || at[0] != 0 {
			t.Errorf("looked up %v, want at once, and 15 to 25 times in three hours", seconds(at))
		}
		wantPace(t, "in the beginning", at)

		for _, change := range []struct {
			what string
			do   func()
		}{
			{"a new subscriber", func() {
				p.change(f, func(s *discovery.State) { s.Endpoints = append(s.Endpoints, endpoint(2)) })
			}},
			{"a host was lost", func() { p.soon(f.errands) }},
			{"back in the DHT", p.back},
		} {
			time.Sleep(3 * time.Hour)
			at := next(time.Minute, change.do)
			if len(at) < 4 || at[0] > time.Second {
				t.Errorf("%s: looked up %v, want at once and often", change.what, seconds(at))
			}
			wantPace(t, change.what, at)
		}

		// It has what it wants, so even a lost host is none.
		p.change(f, func(s *discovery.State) { s.Want = 4 })
		f.mu.Lock()
		f.meetings = 4
		f.mu.Unlock()
		lost := func() { p.soon(f.errands) }
		if at := next(14*time.Minute, lost); len(at) != 0 {
			t.Errorf("four are wanted and met: looked up %v in 14 min, want not at all", seconds(at))
		}
		time.Sleep(20 * time.Minute)
		f.mu.Lock()
		f.meetings = 3
		f.mu.Unlock()
		if at := next(time.Minute, lost); len(at) < 4 {
			t.Errorf("one is missing: looked up %v, want often", seconds(at))
		}

		// Nobody looks for others any more.
		lookUp := func(yes bool) func() {
			return func() { p.change(f, func(s *discovery.State) { s.LookUp = yes }) }
		}
		if at := next(time.Hour, lookUp(false)); len(at) != 0 {
			t.Errorf("looked up %v, though nobody wants it", seconds(at))
		}
		if at := next(time.Minute, lookUp(true)); len(at) < 4 {
			t.Errorf("wanted again: looked up %v, want often", seconds(at))
		}
	})
}

// Work for nobody's sake is done when nothing else waits.
func TestGraceTimeIsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPlanner(t, newFakeWalker(3*time.Second), Public, func(s *settings) { s.WalkBurst = 1 })
		joined := time.Now()
		idle := p.join(t)
		synctest.Wait()
		p.wantBegun(t, idle, 0) // nobody else was there
		other := p.join(t)
		for range 100 {
			p.join(t, "a/s")
		}
		last := p.join(t, "b/s")
		time.Sleep(time.Hour)
		a, _ := p.w.times(last.digest, joined)
		b, _ := p.w.times(other.digest, joined)
		if len(a) == 0 || len(b) == 0 || b[0] < a[0] {
			t.Errorf("looked up for somebody after %v and for nobody after %v", a, b)
		}
	})
}

// Whoever waits for its first turn is told so, once, and that it does not wait any more; who has a
// turn at once hears nothing.
func TestWaitingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPlanner(t, newFakeWalker(time.Second), Public, func(s *settings) { s.LookUps, s.Announcements, s.WalkBurst = 1, 1, 2 })
		first := p.join(t, "a/s")
		synctest.Wait()
		second := p.join(t, "b/s")
		synctest.Wait()
		if n := p.waiting(); n["lookup"] != 1 || n["announcement"] != 1 {
			t.Errorf("%v wait, want one of each", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(first.waited) != 0 || !slices.Equal(second.waited, []bool{true, false}) {
			t.Errorf("told %v and %v, want nothing, and that it waits and then does not", first.waited, second.waited)
		}
		if n := p.waiting(); n["lookup"] != 0 || n["announcement"] != 0 {
			t.Errorf("%v wait at rest", n)
		}
	})
}

// A topic of which nobody wants the DHT is neither looked up nor announced there, and still tries
// the hosts that are known without it.
func TestTopicThatIsNotOnTheDHT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPlanner(t, newFakeWalker(time.Second), Private, nil)
		began := time.Now()
		f := &fakeTopic{state: discovery.State{LookUp: true, Announce: true, Endpoints: []wtproto.EndpointID{endpoint(1)}, Networks: []string{"lan"}}}
		p.enterTopic(t, f)
		time.Sleep(time.Hour)
		synctest.Wait()
		if a, b := p.w.times(f.digest, began); len(a)+len(b) > 0 || len(f.tended) == 0 {
			t.Errorf("%d look-ups, %d announcements, the hosts that are known were tried %d times", len(a), len(b), len(f.tended))
		}
		p.change(f, func(s *discovery.State) { s.Networks = []string{"lan", "dht"} })
		time.Sleep(time.Minute)
		synctest.Wait()
		if a, b := p.w.times(f.digest, began); len(a) == 0 || len(b) == 0 {
			t.Errorf("%d look-ups, %d announcements once somebody wants the DHT", len(a), len(b))
		}
	})
}

// A host that is alone in its DHT has nothing to be polite to, and announces when others come.
func TestAloneInTheDHT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWalker(0)
		w.noOthers = true
		p := newTestPlanner(t, w, Public, func(s *settings) { s.WalkBurst = 1 })
		var fs []*fakeTopic
		for range 100 {
			fs = append(fs, p.join(t, "a/s"))
		}
		synctest.Wait()
		if lookUps, announcements, _ := w.count(); lookUps != 100 || announcements != 100 {
			t.Errorf("%d look-ups and %d announcements at once, want 100 each", lookUps, announcements)
		}
		time.Sleep(time.Hour)
		w.mu.Lock()
		w.noOthers = false
		w.mu.Unlock()
		w.reset()
		p.back()
		time.Sleep(time.Minute)
		for i, f := range fs {
			if lookUps, announcements := w.times(f.digest, time.Now()); len(lookUps) == 0 || len(announcements) == 0 {
				t.Fatalf("topic %d: looked up %v, announced %v after others came", i, lookUps, announcements)
			}
		}
	})
}

// A gateway that lacked a circuit with another one knew as many clients of others as it wanted, so
// it did not look its topic up any more. But these may be the wrong ones: of 300 gateways whose
// clients have two places each, some did not find the next greater one for over half an hour.
func TestNeedIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPlanner(t, newFakeWalker(3*time.Second), Public, nil)
		f := &fakeTopic{meetings: 8, state: discovery.State{LookUp: true, Want: 2, Endpoints: []wtproto.EndpointID{endpoint(1)}}}
		p.enterTopic(t, f)
		time.Sleep(time.Hour)
		for _, need := range []bool{true, false, true} {
			p.change(f, func(s *discovery.State) { s.Need = need })
			since := time.Now()
			for range 4 { // it may say so again and again
				p.change(f, func(s *discovery.State) { s.Need = !need })
				p.change(f, func(s *discovery.State) { s.Need = need })
				time.Sleep(time.Second)
			}
			time.Sleep(time.Hour)
			lookUps, _ := p.w.times(f.digest, since)
			for len(lookUps) > 0 && lookUps[0] < 0 {
				lookUps = lookUps[1:]
			}
			least, most := 50, 75
			if !need { // it has what it wants
				least, most = 0, 1
			}
			if n := len(lookUps); n < least || n > most || need && lookUps[0] > p.settings.LookUpEvery {
				t.Errorf("need %v: looked up %d times in an hour, want %d to %d: %v", need, n, least, most, lookUps)
			}
		}
	})
}
