package p2p

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/wtproto"
)

// seedClock is a seedList with a clock and connections that the test moves.
type seedClock struct {
	*seedList
	now   time.Time
	conns map[peer.ID]time.Time
}

func newSeedClock(n int) *seedClock {
	var targets []target
	for i := range n {
		targets = append(targets, target{id: peer.ID(fmt.Sprint("seed ", i)), addrs: []ma.Multiaddr{
			ma.StringCast(fmt.Sprintf("/ip4/192.0.2.%d/tcp/4434", i)),
		}})
	}
	return &seedClock{newSeedList(targets, time.Second, time.Minute), time.Unix(1e9, 0), make(map[peer.ID]time.Time)}
}

// after moves the clock, and returns who is to be dialed, and whether a seed may know nothing of
// us.
func (c *seedClock) after(d time.Duration) (dial []*seed, isNew bool) {
	c.now = c.now.Add(d)
	isNew = c.update(c.now, func(id peer.ID) time.Time { return c.conns[id] })
	dial, _ = c.due(c.now)
	return dial, isNew
}

// answer ends a dial with a connection.
func (c *seedClock) answer(s *seed) {
	c.conns[s.id] = c.now
	c.dialed(s, nil, c.now)
}

func TestSeedListDelays(t *testing.T) {
	c := newSeedClock(1)
	refused := errors.New("connection refused")
	least := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} // seconds
	for i, d := range least {
		dial, _ := c.after(0)
		if len(dial) != 1 {
			t.Fatalf("dial %d: %d are due, want 1", i, len(dial))
		}
		if news := c.dialed(dial[0], refused, c.now); news != (i == 0) {
			t.Errorf("dial %d: news is %v", i, news)
		}
		if dial, _ := c.after(d*time.Second - 1); len(dial) > 0 {
			t.Errorf("dialed again within %ds", d)
		}
		if _, again := c.due(c.now); again.After(c.now.Add(time.Minute)) {
			t.Errorf("looks again after %v, want a minute at most", again.Sub(c.now))
		}
		c.now = c.now.Add(min(d, 30) * time.Second)
	}
}

// What a seed knows is lost with it. A connection that was cut for want of room is another story.
func TestSeedListNews(t *testing.T) {
	c := newSeedClock(1)
	dial, _ := c.after(0)
	s := dial[0]
	reconnect := func(wait time.Duration) bool {
		t.Helper()
		delete(c.conns, s.id)
		c.after(0)
		dial, _ := c.after(wait)
		if len(dial) != 1 {
			t.Fatalf("after %v %d are due, want 1", wait, len(dial))
		}
		c.answer(s)
		_, isNew := c.after(0)
		return isNew
	}
	c.answer(s)
	if _, isNew := c.after(0); !isNew {
		t.Error("the first connection is no news")
	}
	c.after(steady)
	if !reconnect(2 * time.Second) {
		t.Error("one after a steady one is no news")
	}
	c.after(time.Second)
	if reconnect(8 * time.Second) {
		t.Error("one after a short one is news")
	}
	c.after(time.Second)
	delete(c.conns, s.id)
	c.after(0)
	dial, _ = c.after(time.Minute)
	c.dialed(dial[0], errors.New("timeout"), c.now)
	if !reconnect(time.Minute) {
		t.Error("one after a failure is no news")
	}
}

func TestSeedListEnough(t *testing.T) {
	c := newSeedClock(20)
	dial, _ := c.after(0)
	if len(dial) != enoughSeeds {
		t.Fatalf("%d are dialed, want %d", len(dial), enoughSeeds)
	}
	for _, s := range dial[1:] {
		c.answer(s)
	}
	c.dialed(dial[0], errors.New("no"), c.now)
	next, _ := c.after(0)
	if len(next) != 1 || next[0] == dial[0] {
		t.Fatalf("instead of one that does not answer %d are dialed, want another one", len(next))
	}
	c.answer(next[0])
	if next, _ := c.after(time.Hour); len(next) > 0 {
		t.Errorf("%d are dialed though there are enough", len(next))
	}
	delete(c.conns, dial[1].id)
	if next, _ := c.after(0); len(next) != 1 {
		t.Errorf("%d are dialed instead of one that was lost, want 1", len(next))
	}
}

func TestSeedListLAN(t *testing.T) {
	c := newSeedClock(1)
	lan := []target{{id: "here"}, {id: c.configured[0].id}}
	c.sawLAN(lan)
	if dial, _ := c.after(0); len(dial) != 2 {
		t.Errorf("%d are dialed, want the seed, once, and the host of the LAN", len(dial))
	}
	c.dialed(c.lan[0], errors.New("no"), c.now)
	c.sawLAN(lan)
	if c.lan[0].err == nil {
		t.Error("a failure is forgotten")
	}
	c.sawLAN(nil)
	if len(c.all()) != 1 {
		t.Error("one that has gone is remembered")
	}
}

func TestSeedListVerdict(t *testing.T) {
	c := newSeedClock(2)
	check := func(what string, wantKnown bool, words ...string) {
		t.Helper()
		c.after(0)
		_, err := c.verdict(c.now)
		if known := err != nil; known != wantKnown {
			t.Errorf("%s: %v", what, err)
		}
		for _, w := range words {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", what, err, w)
			}
		}
	}
	dial, _ := c.after(0)
	check("at the start", false)
	c.dialed(c.configured[0], errors.New("connection refused"), c.now)
	check("one failed", false)
	c.dialed(c.configured[1], errors.New("timeout"), c.now)
	check("both failed", true, "no seed of the DHT answers", "TCP port 4434 of 192.0.2.0", "connection refused", "192.0.2.1", "timeout")
	c.answer(dial[0])
	check("one answers", false)
	if n, err := c.missing(); n != 1 || !strings.Contains(err.Error(), "1 of 2 seeds") {
		t.Errorf("missing = %v", err)
	}
	c.after(settleTime)
	check("it is not in the DHT", true, "not in the DHT")
	if _, err := newSeedClock(0).verdict(c.now); err != errAlone {
		t.Errorf("without seeds: %v", err)
	}
	if _, err := newSeedClock(0).missing(); err != nil {
		t.Errorf("without seeds %v is missing", err)
	}
}

func TestExplain(t *testing.T) {
	small, _ := keys(t)
	id, err := peer.IDFromPrivateKey(p2pKey(t, small))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		addr string
		err  error
		want string
	}{
		{"/ip4/192.0.2.1/tcp/4434", errors.New("i/o timeout"), "check that TCP port 4434 of 192.0.2.1 can be reached from here: UNREACHABLE"},
		{"/dns/seed.example/tcp/1", &net.DNSError{Err: "no such host", Name: "seed.example"}, "check the name of the seed " + id.String()},
		{"/ip4/192.0.2.1/tcp/1", sec.ErrPeerIDMismatch{Expected: id, Actual: "x"}, "configure it with the id "},
	} {
		tg := target{id: id, addrs: []ma.Multiaddr{ma.StringCast(tc.addr)}}
		got := explain(tg, unreachable(id, tc.err))
		if !strings.Contains(got.Error(), strings.Replace(tc.want, "UNREACHABLE", wtproto.CodePeerUnreachable.String(), 1)) {
			t.Errorf("explain(%s, %v) = %q, want %q in it", tc.addr, tc.err, got, tc.want)
		}
	}
}
