package server

import (
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeNetwork is a network of which the test says what it sees. One topic at a time may be joined.
type fakeNetwork struct {
	t    *testing.T
	name string
	news chan news
	slow time.Duration // how long a join takes to end

	mu    sync.Mutex
	joins []*fakeJoin
}

// fakeJoin is one call of Join.
type fakeJoin struct {
	topic        wtproto.Topic
	presence     *discovery.Presence
	began, ended time.Time // ended is zero while it goes on
}

type news struct {
	sighting discovery.Sighting
	err      error
	giveUp   bool
}

func newFakeNetwork(t *testing.T, name string) *fakeNetwork {
	return &fakeNetwork{t: t, name: name, news: make(chan news)}
}

func (n *fakeNetwork) Name() string { return n.name }
func (n *fakeNetwork) Close() error { return nil }

func (n *fakeNetwork) Join(ctx context.Context, topic wtproto.Topic, p *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		j := &fakeJoin{topic: topic, presence: p, began: time.Now()}
		n.mu.Lock()
		n.joins = append(n.joins, j)
		n.mu.Unlock()
		defer func() {
			if n.slow > 0 {
				<-time.After(n.slow)
			}
			n.mu.Lock()
			j.ended = time.Now()
			n.mu.Unlock()
		}()
		for {
			select {
			case e := <-n.news:
				if e.giveUp || !yield(e.sighting, e.err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// tell hands e to the topic that has joined, and waits until the gateway has reacted to it.
func (n *fakeNetwork) tell(e news) {
	n.t.Helper()
	select {
	case n.news <- e:
	case <-time.After(time.Hour):
		n.t.Fatalf("nobody is on network %s", n.name)
	}
	synctest.Wait()
}

func (n *fakeNetwork) see(sightings ...discovery.Sighting) {
	n.t.Helper()
	for _, s := range sightings {
		n.tell(news{sighting: s})
	}
}

// all returns copies of all joins so far, oldest first.
func (n *fakeNetwork) all() []fakeJoin {
	n.mu.Lock()
	defer n.mu.Unlock()
	var joins []fakeJoin
	for _, j := range n.joins {
		joins = append(joins, *j)
	}
	return joins
}

// state returns what the gateway is on the topic joined last.
func (n *fakeNetwork) state() discovery.State {
	n.t.Helper()
	joins := n.all()
	if len(joins) == 0 {
		n.t.Fatalf("nobody has joined network %s", n.name)
	}
	s, _ := joins[len(joins)-1].presence.State()
	return s
}

// fakePeer is a peer on a fakeNetwork.
type fakePeer struct {
	t *testing.T
	discovery.Peer
	ends chan *fakeStream // the peer's sides of circuits

	mu     sync.Mutex
	dials  []fakeDial
	answer func(context.Context) error // nil answers at once
}

type fakeDial struct {
	at   time.Time
	from wtproto.EndpointID
}

func (n *fakeNetwork) peer(id string) *fakePeer {
	return &fakePeer{
		t: n.t, Peer: discovery.Peer{Network: n.name, ID: id, Address: "tcp://192.0.2.7:" + id},
		ends: make(chan *fakeStream, 4096),
	}
}

// sighting says that p is there for ever, found by us.
func (p *fakePeer) sighting() discovery.Sighting {
	return discovery.Sighting{Peer: p.Peer, Holds: -1, Dial: p.dial, Further: p.dial}
}

// gone says that p has left the topic.
func (p *fakePeer) gone() discovery.Sighting { return discovery.Sighting{Peer: p.Peer, Gone: true} }

func (p *fakePeer) dial(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
	p.mu.Lock()
	p.dials = append(p.dials, fakeDial{time.Now(), from})
	answer := p.answer
	p.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return nil, err
		}
	}
	near, far := newStream()
	p.ends <- far
	return fakePeerStream{near}, nil
}

// answers sets what comes of later dials; nil is success at once.
func (p *fakePeer) answers(f func(context.Context) error) {
	p.mu.Lock()
	p.answer = f
	p.mu.Unlock()
}

// refuses makes later dials fail with code.
func (p *fakePeer) refuses(code wtproto.Code) {
	p.answers(func(context.Context) error { return &wtproto.Error{Code: code, Remote: true} })
}

// waits makes later dials wait until the returned function is called, or for ever.
func (p *fakePeer) waits() (release func()) {
	open := make(chan struct{})
	p.answers(func(ctx context.Context) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { close(open); synctest.Wait() }
}

// dialed returns the dials so far.
func (p *fakePeer) dialed() []fakeDial {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]fakeDial(nil), p.dials...)
}

// circuit returns p's side of its next circuit.
func (p *fakePeer) circuit() *fakeStream {
	p.t.Helper()
	return receive(p.t, p.ends, "a circuit with peer "+p.ID)
}

// inbound is a circuit that p asks of endpoint to.
func (p *fakePeer) inbound(to wtproto.EndpointID) *fakeInbound {
	near, far := newStream()
	return &fakeInbound{peer: p, to: to, near: near, far: far}
}

// fakeInbound is a circuit that a fakePeer asks for.
type fakeInbound struct {
	peer      *fakePeer
	to        wtproto.EndpointID
	near, far *fakeStream
	err       error // of Accept
	further   bool
	unasked   bool // nothing but an announcement has brought it

	mu       sync.Mutex
	accepted int
	refused  []wtproto.Code
}

// sighting brings i, and says that its peer found us and is there for as long as holds says.
func (i *fakeInbound) sighting(holds time.Duration) discovery.Sighting {
	return discovery.Sighting{Peer: i.peer.Peer, Holds: holds, PeerFoundUs: true, Inbound: i}
}

func (i *fakeInbound) To() wtproto.EndpointID { return i.to }
func (i *fakeInbound) Further() bool          { return i.further }
func (i *fakeInbound) Unsolicited() bool      { return i.unasked }

func (i *fakeInbound) Accept() (discovery.Stream, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.accepted++; i.err != nil {
		return nil, i.err
	}
	return fakePeerStream{i.near}, nil
}

func (i *fakeInbound) Refuse(code wtproto.Code) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refused = append(i.refused, code)
}

// answer returns how often i was accepted, and the codes that it was refused with.
func (i *fakeInbound) answer() (accepted int, refused []wtproto.Code) {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.accepted, i.refused
}
