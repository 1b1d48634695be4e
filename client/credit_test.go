package client

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestNewBudget(t *testing.T) {
	for _, tt := range []struct {
		name          string
		total         int64
		reserve, free int64
	}{
		{"the least", minBudget, 4 * kib, mib},
		{"small", 12 * mib, 24 * kib, 6 * mib},
		{"reserve at its limit", 32 * mib, 64 * kib, 16 * mib},
		{"default", 64 * mib, 64 * kib, 48 * mib},
		{"large", 1 << 40, 64 * kib, 1<<40 - 16*mib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBudget(tt.total)
			if b.reserve != tt.reserve || b.free != tt.free {
				t.Errorf("newBudget(%d) = reserve %d, free %d, want %d and %d", tt.total, b.reserve, b.free, tt.reserve, tt.free)
			}
		})
	}
}

func TestBudgetPlaces(t *testing.T) {
	b := newBudget(64 * mib)
	var accounts []account
	for range maxCircuits {
		a, ok := b.open(epoch)
		if !ok {
			t.Fatalf("open said no after %d circuits", len(accounts))
		}
		accounts = append(accounts, a)
	}
	if _, ok := b.open(epoch); ok {
		t.Fatalf("open said yes to circuit %d", maxCircuits+1)
	}
	b.close(&accounts[7])
	b.close(&accounts[7])
	if b.circuits != maxCircuits-1 {
		t.Errorf("circuits = %d after one was closed twice, want %d", b.circuits, maxCircuits-1)
	}
	if _, ok := b.open(epoch); !ok {
		t.Error("open said no after a circuit was closed")
	}
}

// A step reads n bytes at a time after the last grant and expects the offset that is granted then,
// 0 for none.
type step struct {
	n    int
	at   time.Duration // since the last grant
	want int64
}

func TestGrant(t *testing.T) {
	const rtt = 100 * time.Millisecond
	for _, tt := range []struct {
		name  string
		total int64
		rtt   time.Duration
		steps []step
	}{
		{"less than a quarter", 64 * mib, rtt, []step{{16*kib - 1, 0, 0}, {1, 0, (16 + 128) * kib}}},
		{"read slowly, the window stays", 64 * mib, rtt, []step{
			{16 * kib, rtt + 1, 80 * kib},
			{16*kib - 1, time.Hour, 0},
			{1, time.Hour, 96 * kib},
		}},
		{"read within a round trip, it doubles", 64 * mib, rtt, []step{
			{16 * kib, rtt, (16 + 128) * kib},
			{32 * kib, rtt, (48 + 256) * kib},
			{64 * kib, rtt, (112 + 512) * kib},
			{128 * kib, rtt + 1, (240 + 512) * kib},
		}},
		{"a short path has 5 ms", 64 * mib, time.Microsecond, []step{
			{16 * kib, promptly, (16 + 128) * kib},
			{32 * kib, promptly + 1, (48 + 128) * kib},
		}},
		{"all of it at once", 64 * mib, rtt, []step{{64 * kib, 0, (64 + 128) * kib}}},
		{"up to 8 MiB", 64 * mib, rtt, []step{
			{64 * kib, 0, 64*kib + 128*kib},
			{128 * kib, 0, 192*kib + 256*kib},
			{256 * kib, 0, 448*kib + 512*kib},
			{512 * kib, 0, 960*kib + 1*mib},
			{1 * mib, 0, 1984*kib + 2*mib},
			{2 * mib, 0, 4032*kib + 4*mib},
			{4 * mib, 0, 8128*kib + 8*mib},
			{8 * mib, 0, 16320*kib + 8*mib},
		}},
		{"up to half of the pool", minBudget, rtt, []step{ // reserve 4 KiB, pool 1 MiB
			{4 * kib, 0, 12 * kib},
			{8 * kib, 0, 28 * kib},
			{16 * kib, 0, 60 * kib},
			{32 * kib, 0, 124 * kib},
			{64 * kib, 0, 252 * kib},
			{128 * kib, 0, 508 * kib},
			{256 * kib, 0, 508*kib + 512*kib},
			{512 * kib, 0, 1020*kib + 516*kib},
			{129*kib - 1, 0, 0},
			{1, 0, 1149*kib + 516*kib},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBudget(tt.total)
			a, _ := b.open(epoch)
			for i, s := range tt.steps {
				if !a.count(s.n) {
					t.Fatalf("step %d: %d bytes read, %d granted", i, a.read, a.granted)
				}
				var got int64
				if b.grant(&a, a.since.Add(s.at), tt.rtt) {
					got = a.granted
				}
				if got != s.want {
					t.Fatalf("step %d: read %d of window %d, granted %d, want %d", i, s.n, a.window, got, s.want)
				}
			}
			pool := b.free + a.window - b.reserve
			if b.close(&a); b.free != pool {
				t.Errorf("free = %d after close, want %d", b.free, pool)
			}
		})
	}
}

func TestCountBeyondCredit(t *testing.T) {
	b := newBudget(64 * mib)
	a, _ := b.open(epoch)
	if !a.count(64 * kib) {
		t.Error("count refused the last byte of the credit")
	}
	if a.count(1) {
		t.Error("count took a byte beyond the credit")
	}
}

// A circuit that was alone has a large window. As others are read too, it gives back what is above
// its share; one that is not read keeps what was granted.
func TestWindowsMeet(t *testing.T) {
	b := newBudget(16 * mib) // reserve 32 KiB, pool 8 MiB
	accounts := make([]account, 7)
	grow := func(a *account) {
		for range 64 {
			if !a.count(int(a.window / 4)) {
				t.Fatalf("%d bytes read, %d granted", a.read, a.granted)
			}
			b.grant(a, a.since, 0)
		}
	}
	for i := range accounts {
		accounts[i], _ = b.open(epoch)
		grow(&accounts[i])
	}
	first := accounts[0].window
	if want := b.reserve + 4*mib; first != want {
		t.Errorf("window of the first = %d, want %d", first, want)
	}
	for range 64 {
		for i := 1; i < len(accounts); i++ {
			grow(&accounts[i])
		}
	}
	if accounts[0].window != first {
		t.Errorf("window of a circuit that is not read went from %d to %d", first, accounts[0].window)
	}
	for range 64 {
		for i := range accounts {
			grow(&accounts[i])
		}
	}
	for i := range accounts {
		// n circuits and the next one have a share of the pool each.
		if got, want := accounts[i].window-b.reserve, int64(mib); got < want*99/100 || got > want*101/100 {
			t.Errorf("circuit %d has %d of the pool, want about %d", i, got, want)
		}
	}
}

// Whatever is opened, read and closed in whatever order: what is granted and not read fits into the
// budget, offsets rise by a quarter of a window at least, and closed circuits leave nothing behind.
func TestBudgetInvariants(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		total := minBudget + rng.Int64N(96*mib)
		b := newBudget(total)
		empty := b
		now := epoch
		var accounts []*account
		check := func(op string) {
			t.Helper()
			var unread, windows int64
			for _, a := range accounts {
				unread += a.granted - a.read
				windows += a.window
				switch {
				case a.granted-a.read > a.window:
					t.Fatalf("seed %d: %s: %d granted and unread in a window of %d", seed, op, a.granted-a.read, a.window)
				case a.window < b.reserve || a.window > maxWindow:
					t.Fatalf("seed %d: %s: window of %d", seed, op, a.window)
				}
			}
			if pool := empty.free - (windows - int64(len(accounts))*b.reserve); b.free != pool || b.free < 0 {
				t.Fatalf("seed %d: %s: free = %d, want %d", seed, op, b.free, pool)
			}
			if unread > total {
				t.Fatalf("seed %d: %s: %d bytes granted and unread of %d", seed, op, unread, total)
			}
		}
		for range 2000 {
			now = now.Add(time.Duration(rng.Int64N(int64(2 * promptly))))
			switch op := rng.IntN(20); {
			case op == 0:
				a, ok := b.open(now)
				if ok != (len(accounts) < maxCircuits) {
					t.Fatalf("seed %d: open = %v with %d circuits", seed, ok, len(accounts))
				}
				if ok {
					accounts = append(accounts, &a)
				}
				check("open")
			case len(accounts) == 0:
			case op == 1:
				i := rng.IntN(len(accounts))
				b.close(accounts[i])
				accounts = slices.Delete(accounts, i, i+1)
				check("close")
			default:
				a := accounts[rng.IntN(len(accounts))]
				before := *a
				if room := a.granted - a.read; room > 0 && !a.count(int(1+rng.Int64N(room))) {
					t.Fatalf("seed %d: count refused what was granted", seed)
				}
				granted := b.grant(a, now, time.Duration(rng.Int64N(int64(2*promptly))))
				if rose := a.granted - before.granted; granted != (rose > 0) || rose < 0 || granted && rose < a.window/4 {
					t.Fatalf("seed %d: grant = %v, offset rose by %d in a window of %d", seed, granted, rose, a.window)
				}
				check("grant")
			}
		}
		for _, a := range accounts {
			b.close(a)
		}
		if b != empty {
			t.Fatalf("seed %d: %+v after all circuits were closed, want %+v", seed, b, empty)
		}
	}
}
