package p2p

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/wtproto"
)

// of returns one payer, whose parts are separated by slashes, the widest first.
func of(path string) discovery.Payer {
	var p discovery.Payer
	for _, part := range strings.Split(path, "/") {
		p = append(p, part)
	}
	return p
}

// silent is a machine with all addresses of 127.0.0.0/8 that takes connections and never says a
// word.
type silent struct {
	port  int
	mu    sync.Mutex
	conns []net.Conn
}

func newSilent(t *testing.T) *silent {
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &silent{port: ln.Addr().(*net.TCPAddr).Port}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
		for _, c := range s.conns {
			c.Close()
		}
	})
	return s
}

// accepted returns how many connections there were.
func (s *silent) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// hosts returns n hosts that are said to be there, each at as many addresses as are dialed, and
// none where those with another number are.
func (s *silent) hosts(t *testing.T, number, n int) (all []target) {
	for i := range n {
		p := target{id: someID(t), network: networkDHT}
		for k := range maxAddrs {
			p.addrs = append(p.addrs, ma.StringCast(fmt.Sprintf("/ip4/127.%d.%d.%d/tcp/%d", 1+number, i, 1+k, s.port)))
		}
		all = append(all, p)
	}
	return all
}

// enterFor has h on a topic for the sake of payers until the test ends.
func enterFor(t *testing.T, h *Host, name string, payers ...discovery.Payer) *topic {
	state := discovery.State{Announce: true, LookUp: true, Endpoints: endpoints(1), Want: 64, For: payers}
	tp := h.newTopic(t.Context(), wtproto.TopicFromName(name), discovery.NewPresence(state))
	if err := h.enter(tp); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.leave(tp) })
	return tp
}

// A client whose 64 topics were full of dead records filled the queue of libp2p, which dials at
// 160 addresses at once for all topics together, and everybody else's hosts were dialed after
// them.
func TestDeadRecordsHoldUpTheirOwn(t *testing.T) {
	dead := newSilent(t)
	h := listen(t, all(gateway, off, func(c *Config) {
		c.DialTimeout = time.Hour // so that none of the dials is over when the newcomer comes
	}))
	for i := range 64 {
		tp := enterFor(t, h, fmt.Sprint("full of dead records ", i), of("hammer/session"))
		for _, p := range dead.hosts(t, i, 2*maxAsking) {
			tp.addTarget(p)
		}
	}
	eventually(t, "many are dialed", func() bool { return dead.accepted() >= maxDials/2 })
	for i := range 2 { // and one newcomer does not keep another one out
		honest := listen(t, all(native, off))
		name := fmt.Sprint("honest ", i)
		enterFor(t, honest, name)
		tp := enterFor(t, h, name, of(fmt.Sprint("newcomer/", i)))
		tp.addTarget(target{id: honest.id, addrs: honest.libp2p.Addrs(), network: networkDHT})
		eventually(t, "the newcomer has met its host", func() bool {
			tp.mu.Lock()
			defer tp.mu.Unlock()
			return tp.meetings.active == 1
		})
	}
	if n := dead.accepted(); n > maxDials {
		t.Errorf("%d dials of dead hosts at once, want %d at most", n, maxDials)
	}
}

// Dials on the LAN and on loopback ended after 5 s, whatever DialTimeout said: libp2p has a limit
// of its own for them. On a busy machine hosts with much time for each other did not meet.
func TestDialTimeoutOnTheLAN(t *testing.T) {
	t.Parallel()
	const timeout = 6 * time.Second
	h := listen(t, all(gateway, off, func(c *Config) { c.DialTimeout = timeout }))
	began := time.Now()
	err := h.connect(t.Context(), newSilent(t).hosts(t, 0, 1)[0], nil)
	if took := time.Since(began); err == nil || took < timeout {
		t.Errorf("connect = %v after %v, want an error after %v", err, took, timeout)
	}
}

// runs wants a turn for payer, and puts it into list when it comes.
func runs(d *dials, list *[]*turn, payer string) *turn {
	return d.want(fair.First, []discovery.Payer{of(payer)}, func(t *turn) bool {
		*list = append(*list, t)
		return true
	})
}

// 200 principals have 64 topics each that are full of dead records. However many turns wait, a
// newcomer's begins after a few that end, and all addresses together stay below the bound.
func TestDialsTakeTurns(t *testing.T) {
	d := newDials(nil)
	var hammers []*turn
	for i := range 200 {
		for range 64 {
			runs(d, &hammers, fmt.Sprintf("%d/session", i))
		}
	}
	if n := len(hammers); n != maxDials/maxAddrs {
		t.Fatalf("%d turns run, want %d", n, maxDials/maxAddrs)
	}
	end := func() {
		hammers[0].done()
		hammers = hammers[1:]
	}
	for range 2 * 200 { // each has its first turn
		end()
	}
	for i := range 20 {
		var came []*turn
		runs(d, &came, fmt.Sprintf("newcomer %d/session", i))
		ends := 0
		for ; len(came) == 0; ends++ {
			end()
		}
		if ends > fair.OldTurn {
			t.Errorf("newcomer %d came after %d turns of others, want %d at most", i, ends, fair.OldTurn)
		}
		came[0].done()
		if d.used > maxDials {
			t.Fatalf("%d addresses at once", d.used)
		}
	}
	if d.waiting() == 0 {
		t.Error("nobody waits any more")
	}
}

// One principal leaves a share to others, whatever it does.
func TestDialsKept(t *testing.T) {
	d := newDials(nil)
	var hammer, other []*turn
	for i := range 64 {
		runs(d, &hammer, fmt.Sprintf("hammer/session %d", i))
	}
	for _, r := range hammer { // each host has one address
		r.uses(1)
	}
	for i := range 200 {
		runs(d, &hammer, fmt.Sprintf("hammer/session %d", i))
	}
	if d.waiting() == 0 || d.used > maxDials-maxDials/reservedWalks+maxAddrs {
		t.Fatalf("the hammer has %d addresses, and %d turns wait", d.used, d.waiting())
	}
	if runs(d, &other, "newcomer/session"); len(other) != 1 {
		t.Error("the newcomer waits")
	}
}

func TestDialsEnd(t *testing.T) {
	d := newDials(nil)
	var running, late []*turn
	for range maxDials / maxAddrs {
		runs(d, &running, fmt.Sprint(len(running)))
	}
	waits := runs(d, &late, "late")
	waits.pay(fair.Later, []discovery.Payer{of("somebody else")})
	if len(late) != 0 || d.waiting() != 1 {
		t.Fatalf("%d turns came too soon, %d wait", len(late), d.waiting())
	}
	waits.done()
	waits.done()
	if d.waiting() != 0 {
		t.Error("who has ended still waits")
	}
	refused := d.want(fair.First, []discovery.Payer{of("gone")}, func(*turn) bool { return false })
	for _, r := range running {
		r.uses(maxAddrs + 1)
		r.uses(2)
		r.done()
		r.done()
		r.uses(1)
	}
	refused.done()
	if d.used != 0 || d.waiting() != 0 {
		t.Errorf("%d addresses are dialed at the end, and %d wait", d.used, d.waiting())
	}
	var none *turn
	none.uses(1)
	none.pay(fair.First, nil)
	none.done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		d.await(ctx, fair.First, nil).done()
	}
	if d.used != 0 || d.waiting() != 0 {
		t.Errorf("%d addresses are dialed at the end, and %d wait", d.used, d.waiting())
	}
}
