package server

import (
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A program that was killed stayed with its peers for a minute, though it had circuits and so
// should have said something every 2 s: a Read of a peer returned PEER_GONE after 59 s only.
func TestSilentClientWithCircuits(t *testing.T) {
	inBubble(t, Config{Silence: 25 * time.Second}, func(t *testing.T, g *bubble) {
		killed, lives := g.connect(), g.connect()
		killed.join(announceAndLookUp, 0)
		lives.join(announceAndLookUp, 0)
		start := time.Now()
		killed.circuit()
		circuit := lives.circuit()
		expect[wtproto.Ping](killed)
		if after := time.Since(start); after != 5*time.Second {
			t.Errorf("PING after %v of silence, want 5s", after)
		}
		for time.Since(start) < 24*time.Second {
			lives.lives()
			pass(2 * time.Second)
		}
		if n := lives.streams(); n != 0 {
			t.Errorf("%d more circuits", n)
		}
		killed.ends(wtproto.CodeIdle)
		if lived := time.Since(start); lived != 25*time.Second {
			t.Errorf("lived for %v, want 25s", lived)
		}
		wantReset(t, circuit.fakeStream, wtproto.CodePeerGone)
	})
}

// What the gateway has to say waits behind what the client does not read. Its session had no end
// while a Write waited.
func TestSilentClientThatReadsNothing(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.control.in.set(func() { c.control.in.unread = make([]byte, fakeWindow) })
		start := time.Now()
		c.send(wtproto.Join{Flags: announceAndLookUp})
		c.ends(wtproto.CodeIdle)
		if lived := time.Since(start); lived != time.Minute {
			t.Errorf("lived for %v, want 1m", lived)
		}
	})
}

// The timer is simulated: each check is when the one before said, or when circuits begin, or at
// the end of the pause that it falls into.
func TestSilence(t *testing.T) {
	const (
		s       = time.Second
		forever = time.Hour
	)
	type span struct{ from, to time.Duration }
	for _, tt := range []struct {
		name     string
		frames   []time.Duration // that come
		circuits span            // when there are some
		pause    span            // when the gateway does not run
		pings    []time.Duration
		ends     time.Duration // 0 for not within two minutes
	}{
		{name: "without circuits", pings: []time.Duration{20 * s}, ends: 60 * s},
		{name: "with circuits", circuits: span{0, forever}, pings: []time.Duration{5 * s}, ends: 25 * s},
		{name: "circuits begin before PING", circuits: span{3 * s, forever}, pings: []time.Duration{5 * s}, ends: 25 * s},
		{name: "circuits begin after 15 s", circuits: span{15 * s, forever}, pings: []time.Duration{15 * s}, ends: 35 * s},
		{name: "circuits begin after PING", circuits: span{30 * s, forever}, pings: []time.Duration{20 * s}, ends: 40 * s},
		{name: "circuits begin late", circuits: span{50 * s, forever}, pings: []time.Duration{20 * s}, ends: 50 * s},
		{name: "circuits have ended", circuits: span{0, 10 * s}, pings: []time.Duration{5 * s}, ends: 60 * s},
		{
			name: "answers", circuits: span{0, forever}, frames: []time.Duration{24 * s, 29*s + 1},
			pings: []time.Duration{5 * s, 29 * s, 34*s + 1}, ends: 54*s + 1,
		},
		{
			name: "the gateway did not run, which says nothing of the client", circuits: span{0, forever}, pause: span{3 * s, 28 * s},
			pings: []time.Duration{33 * s}, ends: 53 * s,
		},
		{name: "the gateway was busy", circuits: span{0, forever}, pause: span{24 * s, 26 * s}, pings: []time.Duration{5 * s}, ends: 26 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{}.withDefaults()
			start := time.Now()
			l := newSilence(&cfg, start)
			var pings []time.Duration
			var ends time.Duration
			frames := tt.frames
			for now := time.Duration(0); now <= 2*time.Minute; {
				for len(frames) > 0 && frames[0] <= now {
					l.hear(start.Add(frames[0]))
					frames = frames[1:]
				}
				circuits := tt.circuits.from <= now && now < tt.circuits.to
				ping, over, wait := l.check(start.Add(now), circuits)
				if over {
					ends = now
					break
				}
				if ping {
					pings = append(pings, now)
				}
				if wait <= 0 {
					t.Fatalf("at %v: next check after %v", now, wait)
				}
				next := now + wait
				if now < tt.circuits.from && tt.circuits.from < next {
					next = tt.circuits.from
				}
				if tt.pause.from <= next && next < tt.pause.to {
					next = tt.pause.to
				}
				now = next
			}
			if !slices.Equal(pings, tt.pings) || ends != tt.ends {
				t.Errorf("PING at %v, the end at %v; want %v and %v", pings, ends, tt.pings, tt.ends)
			}
		})
	}
}
