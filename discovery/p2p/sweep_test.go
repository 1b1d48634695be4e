package p2p

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// key8 is a key that begins with a byte.
func key8(b byte) kb.ID {
	k := make(kb.ID, 32)
	k[0] = b
	return k
}

func TestSharedBits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		peers []kb.ID
		want  int
	}{
		{"nobody", nil, 0},
		{"fewer than keep a record: they are all", []kb.ID{key8(0x80), key8(0x40), key8(0x01)}, 0},
		{"two in the nearer half", []kb.ID{key8(0x80), key8(0xc0), key8(0x40), key8(0x01)}, 1},
		{"all in the nearer half, two in its nearer half", []kb.ID{key8(0x40), key8(0x60), key8(0x10), key8(0x01)}, 2},
		{"none nearer than the others", []kb.ID{key8(0x80), key8(0x81), key8(0x82), key8(0x83)}, 257},
	} {
		if got := sharedBits(key8(0), tc.peers, 4); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestWithin(t *testing.T) {
	k := key8(0b1010_1010)
	k[1] = 0b1100_0000
	for _, tc := range []struct {
		bits      int
		low, high string // the first two bytes
	}{
		{0, "0000", "ffff"},
		{1, "8000", "ffff"},
		{5, "a800", "afff"},
		{8, "aa00", "aaff"},
		{10, "aac0", "aaff"},
		{16, "aac0", "aac0"},
		{256, "aac0", "aac0"},
	} {
		low, high := within(k, tc.bits)
		if a, b := fmt.Sprintf("%x", []byte(low[:2])), fmt.Sprintf("%x", []byte(high[:2])); a != tc.low || b != tc.high {
			t.Errorf("%d bits: %s to %s, want %s to %s", tc.bits, a, b, tc.low, tc.high)
		}
		if tc.bits == 256 && (!slices.Equal(low, k) || !slices.Equal(high, k)) {
			t.Errorf("all bits: %x to %x, want %x", []byte(low), []byte(high), []byte(k))
		}
	}
}

// Topics whose records the same hosts keep are announced on one walk, but for those that begin at
// the same moment, which do not see each other; all others on walks of their own; and what failed
// is tried again soon, what was not does not ride along too often.
func TestSweep(t *testing.T) {
	for _, tc := range []struct {
		name     string
		shared   int
		min, max int // walks for 1,000 topics
	}{
		{"few hosts, which keep all records", 0, 2, 3 * 16},
		{"a quarter of the records on the same hosts", 2, 4, 4 * 16},
		{"no two records", 257, 1000, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const topics = 1000
				w := newFakeWalker(time.Second)
				w.shared = tc.shared
				p := newTestPlanner(t, w, Private, nil)
				p.shared = tc.shared // as was measured before
				var fs []*fakeTopic
				for i := range topics {
					fs = append(fs, p.join(t, fmt.Sprint(i%10, "/s")))
				}
				time.Sleep(7 * time.Minute)
				for i, f := range fs {
					if _, at := w.times(f.digest, time.Now()); len(at) != 1 {
						t.Fatalf("topic %d was announced %d times in 7 min, want once", i, len(at))
					}
				}
				if _, _, walks := w.count(); walks < tc.min || walks > tc.max {
					t.Errorf("%d walks, want %d to %d", walks, tc.min, tc.max)
				}
				w.mu.Lock()
				most := slices.Max(append(w.sweeps, 0))
				w.mu.Unlock()
				if most > maxSweep {
					t.Errorf("%d topics on one walk, want at most %d", most, maxSweep)
				}

				// All are left; nothing is announced any more.
				for _, f := range fs {
					p.end(f)
				}
				time.Sleep(10 * time.Second)
				w.reset()
				time.Sleep(time.Hour)
				if lookUps, announcements, walks := w.count(); lookUps+announcements+walks != 0 {
					t.Errorf("%d look-ups, %d announcements on %d walks after all topics were left", lookUps, announcements, walks)
				}
			})
		})
	}
}

// An announcement that failed is made again with growing delays, and with the usual one after it
// succeeded.
func TestAnnouncementFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWalker(0)
		w.fails = true
		p := newTestPlanner(t, w, Private, nil)
		f := p.join(t, "a/s")
		since := time.Now()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if _, at := w.times(f.digest, since); len(at) < 4 || len(at) > 6 {
			t.Errorf("announced after %v, want four to six times in 30 s", seconds(at))
		}
		w.mu.Lock()
		w.fails = false
		w.mu.Unlock()
		time.Sleep(time.Hour)
		w.reset()
		since = time.Now()
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, at := w.times(f.digest, since); len(at) < 6 || len(at) > 7 {
			t.Errorf("announced after %v, want each nine to ten minutes", seconds(at))
		}
	})
}

// Many topics that are joined at once are announced together, and found by who looks for any of
// them.
func TestSweepOnADHT(t *testing.T) {
	const topics = 200
	hosts := swarmOf(t, native, gateway, native)
	for _, h := range hosts {
		eventually(t, "the DHT is entered", func() bool { works, _, _ := h.table.status.get(); return works })
	}
	digests := make([][32]byte, topics)
	for i := range topics {
		key := wtproto.TopicFromName(fmt.Sprint("sweep ", i))
		digests[i] = key.Digest()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range hosts[1].Join(ctx, key, discovery.NewPresence(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{endpoint(i)}})) {
			}
		}()
		t.Cleanup(func() { cancel(); <-done })
	}
	for i, d := range digests {
		eventually(t, fmt.Sprintf("topic %d is found", i), func() bool {
			for p := range hosts[2].table.find(t.Context(), d) {
				if p.id == hosts[1].id {
					return true
				}
			}
			return false
		})
	}
}
