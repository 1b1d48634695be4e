package client

import (
	"slices"
	"testing"
	"time"
)

func TestHowLargePacketsLeave(t *testing.T) {
	type packet struct {
		n, segment int
		want       manner
	}
	for name, packets := range map[string][]packet{
		"small ones": {{1200, 0, undivided}, {30, 0, undivided}, {12000, 1200, undivided}, {1200, 0, undivided}},
		"a probe of the path, while it is found out how much that carries": {
			{12000, 1200, undivided},
			{1326, 0, undivided},
			{1326 * 3, 1326, undivided},
			{1389, 0, undivided},
			{1326, 1326, undivided}, // it did not get through
			{1389, 0, undivided},
		},
		"no answer": {
			{1452 * 14, 1452, undivided},
			{1452, 0, undivided},
			{1452, 0, fragmented},
			{60, 0, undivided}, // an acknowledgement
			{1201, 0, undivided},
			{1452, 0, fragmented},
			{1453, 0, undivided},
		},
		"no batches at all": {{1200, 0, undivided}, {1326, 0, dropped}, {1200, 0, undivided}, {1263, 0, dropped}},
	} {
		var l largePackets
		for i, p := range packets {
			if got := l.next(p.n, p.segment); got != p.want {
				t.Errorf("%s: packet %d, of %d bytes: %v, want %v", name, i, p.n, got, p.want)
			}
		}
	}

	// A system may refuse batches from a moment on. Then a packet of the size that was in use may be
	// what quic-go sends for want of an answer, and the size stays.
	var l largePackets
	l.next(1326*14, 1326)
	l.noBatches()
	var got []manner
	for _, n := range []int{1326, 1326, 1389, 1326, 1326} {
		got = append(got, l.next(n, 0))
	}
	if want := []manner{undivided, fragmented, dropped, undivided, fragmented}; !slices.Equal(got, want) {
		t.Errorf("without batches: %v, want %v", got, want)
	}
}

// Large packets have stopped arriving if most of them are lost for several rounds, in a row.
func TestLargePacketsThatDoNotArrive(t *testing.T) {
	const rtt = 20 * time.Millisecond
	type flight struct {
		timeouts int // packets that quic-go sends before, for want of an answer
		packets  int
		lost     int // of those before, as quic-go notices
		after    time.Duration
	}
	repeat := func(n int, f ...flight) []flight { return slices.Repeat(f, n) }
	const cycle = 80 * time.Millisecond
	for name, c := range map[string]struct {
		size    int
		flights []flight
		want    bool
	}{
		"all arrives":             {1452, repeat(1000, flight{0, 14, 0, time.Millisecond}), false},
		"half is lost":            {1452, repeat(1000, flight{0, 12, 6, 10 * time.Millisecond}), false},
		"half is lost at the end": {1452, repeat(1000, flight{2, 6, 0, 100 * time.Millisecond}), false},
		"all is lost":             {1452, repeat(10, flight{2, 30, 29, cycle}), true},
		"all of small writes":     {1452, repeat(100, flight{2, 2, 1, cycle}), true},
		"all, one by one":         {1452, repeat(100, flight{2, 1, 0, time.Second}), true},
		"all, without a timeout":  {1452, repeat(100, flight{0, 1, 1, cycle}), true},
		"small ones":              {1200, repeat(100, flight{2, 30, 29, cycle}), false},
		"while there was no network": {1452, slices.Concat(
			repeat(100, flight{0, 14, 0, time.Millisecond}),
			repeat(1, flight{12, 14, 1000, 10 * time.Second}),
			repeat(100, flight{0, 14, 0, time.Millisecond}),
		), false},
		"again and again, not for long": {1452, repeat(20, slices.Concat(
			repeat(lossRounds-1, flight{2, 14, 14, time.Second}),
			repeat(2, flight{0, 14, 0, time.Second}),
		)...), false},
		"too early to know": {1452, repeat(150, flight{0, 10, 10, time.Millisecond}), false},
	} {
		l := largePackets{rounds: lossRounds}
		now, lost, got := time.Now(), uint64(0), false
		for _, f := range c.flights {
			now = now.Add(f.after)
			lost += uint64(f.lost * c.size)
			for range f.timeouts {
				l.next(c.size, 0)
			}
			l.next(f.packets*c.size, c.size)
			if l.count(f.packets*c.size, now, func() (uint64, time.Duration) { return lost, rtt }) {
				got = true
			}
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
