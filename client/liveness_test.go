package client

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// The timer is simulated: each check is at the deadline that the one before set, or at the end of
// the pause that it falls into.
func TestLiveness(t *testing.T) {
	const (
		s       = time.Second
		forever = time.Hour
	)
	type span struct{ from, to time.Duration }
	for _, tt := range []struct {
		name     string
		frames   []time.Duration // that come
		circuits span            // when there are some
		pause    span            // when the program does not run
		pings    []time.Duration
		silent   []time.Duration
		refused  time.Duration   // when it is heard that nobody listens; 0 for never
		heard    []time.Duration // in a frame or, where the pause ends, in a check
		lost     time.Duration   // 0 for not within a minute
	}{
		{name: "silent", circuits: span{0, forever}, pings: []time.Duration{2 * s}, silent: []time.Duration{5 * s}, lost: 25 * s},
		{name: "silent, without circuits", pings: []time.Duration{15 * s}, lost: 25 * s},
		{
			name: "circuits after a silence", circuits: span{10 * s, forever},
			pings: []time.Duration{10 * s}, silent: []time.Duration{13 * s}, lost: 25 * s,
		},
		{
			name: "circuits after a PING", circuits: span{20 * s, forever},
			pings: []time.Duration{15 * s}, silent: []time.Duration{20 * s}, lost: 25 * s,
		},
		{name: "circuits end, the PING stays", circuits: span{0, 3 * s}, pings: []time.Duration{2 * s}, lost: 25 * s},
		{
			name: "an answer in time", circuits: span{0, forever}, frames: []time.Duration{5*s - 1},
			pings: []time.Duration{2 * s, 7*s - 1}, silent: []time.Duration{10*s - 1}, lost: 30*s - 1,
		},
		{
			name: "suspected twice", circuits: span{0, forever}, frames: []time.Duration{6 * s},
			pings: []time.Duration{2 * s, 8 * s}, silent: []time.Duration{5 * s, 11 * s}, heard: []time.Duration{6 * s}, lost: 31 * s,
		},
		{
			name: "frames in time", circuits: span{0, forever},
			frames: []time.Duration{1 * s, 2500 * time.Millisecond, 4 * s},
			pings:  []time.Duration{6 * s}, silent: []time.Duration{9 * s}, lost: 29 * s,
		},
		{
			name: "an answer at the last moment", circuits: span{0, forever},
			frames: []time.Duration{25*s - 1},
			pings:  []time.Duration{2 * s, 27*s - 1}, silent: []time.Duration{5 * s, 30*s - 1},
			heard: []time.Duration{25*s - 1}, lost: 50*s - 1,
		},
		{
			name:   "answers without circuits",
			frames: []time.Duration{15*s + 1, 30*s + 2, 45*s + 3},
			pings:  []time.Duration{15 * s, 30*s + 1, 45*s + 2},
		},
		{
			name: "a second late", circuits: span{0, forever}, pause: span{24500 * time.Millisecond, 26 * s},
			pings: []time.Duration{2 * s}, silent: []time.Duration{5 * s}, lost: 26 * s,
		},
		{
			name: "later, which proves nothing", circuits: span{0, forever}, pause: span{24500 * time.Millisecond, 26*s + 1},
			pings: []time.Duration{2 * s, 28*s + 1}, silent: []time.Duration{5 * s, 31*s + 1}, heard: []time.Duration{26*s + 1}, lost: 51*s + 1,
		},
		{
			name: "late with doubts", circuits: span{0, forever}, pause: span{4 * s, 6*s + 1},
			pings: []time.Duration{2 * s, 8*s + 1}, silent: []time.Duration{11*s + 1}, lost: 31*s + 1,
		},
		{
			name: "nobody listens", circuits: span{0, forever}, refused: 1300 * time.Millisecond,
			pings: []time.Duration{1300 * time.Millisecond}, silent: []time.Duration{1300 * time.Millisecond}, lost: 25 * s,
		},
		{
			name: "nobody listens, without circuits", refused: 16 * s, frames: []time.Duration{17 * s},
			pings: []time.Duration{15 * s, 16 * s, 32 * s}, silent: []time.Duration{16 * s}, heard: []time.Duration{17 * s}, lost: 42 * s,
		},
		{name: "late by much", pause: span{1 * s, 50 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := liveness{silence: 25 * s, heard: epoch}
			var found [lost + 1][]time.Duration
			var lostAt time.Duration
			frames := tt.frames
			for now := time.Duration(0); now <= time.Minute; {
				for len(frames) > 0 && frames[0] <= now {
					if l.hear(epoch.Add(frames[0])) {
						found[heard] = append(found[heard], frames[0])
					}
					frames = frames[1:]
				}
				if tt.refused > 0 && tt.refused <= now {
					l.refused, tt.refused = true, 0
				}
				sign := l.check(epoch.Add(now), tt.circuits.from <= now && now < tt.circuits.to)
				if sign == lost {
					lostAt = now
					break
				}
				found[sign] = append(found[sign], now)
				if sign == refused {
					found[quiet], found[silent] = append(found[quiet], now), append(found[silent], now)
				}
				next := l.deadline.Sub(epoch)
				if next <= now {
					t.Fatalf("at %v: next check at %v", now, next)
				}
				if now < tt.circuits.from && tt.circuits.from < next {
					next = tt.circuits.from // a circuit is reason for a check
				}
				if now < tt.refused && tt.refused < next {
					next = tt.refused // and so is that
				}
				if tt.pause.from <= next && next < tt.pause.to {
					next = tt.pause.to
				}
				now = next
			}
			for sign, want := range map[sign][]time.Duration{quiet: tt.pings, silent: tt.silent, heard: tt.heard} {
				if !slices.Equal(found[sign], want) {
					t.Errorf("sign %d at %v, want %v", sign, found[sign], want)
				}
			}
			if lostAt != tt.lost {
				t.Errorf("lost at %v, want %v", lostAt, tt.lost)
			}
		})
	}
}

// The longer PING is a PING.
func TestQuestion(t *testing.T) {
	typ, payload, err := wtproto.NewReader(bytes.NewReader(paddedPing{}.Append(nil))).Next()
	if err != nil || typ != wtproto.TypePing {
		t.Fatalf("paddedPing = %v, %v", typ, err)
	}
	if _, err := wtproto.ParsePing(payload); err != nil {
		t.Error(err)
	}
}
