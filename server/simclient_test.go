package server

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// simGateway is a Server on a simNet, with the limits that it has if nobody says otherwise.
// Nothing looks after its memory.
type simGateway struct {
	*Server
	host *simHost
	wg   sync.WaitGroup // of sessions
}

func newSimGateway(t *testing.T, n *simNet) *simGateway {
	t.Helper()
	h := n.host()
	s, err := New(Config{TLS: &tls.Config{}, Networks: []discovery.Network{h}, Memory: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	return &simGateway{Server: s, host: h}
}

// stop ends everything of g.
func (g *simGateway) stop() {
	g.Close()
	g.wg.Wait()
	g.router.close()
}

// simLink is a fakeLink whose client keeps the circuits that it is given, and sends nothing.
type simLink struct {
	*fakeLink
	circuits []*simCircuit // guarded by mu; those that are open, as of the last look, and newer ones
	made     int           // guarded by mu
}

// simCircuit is a client's side of a circuit.
type simCircuit struct {
	*fakeStream
	opened time.Time
	peer   []byte // whom it is with; nil before PEER has come
}

func (l *simLink) open() (stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, errLinkLost
	}
	near, far := newStream()
	l.streams = append(l.streams, near)
	l.circuits = append(l.circuits, &simCircuit{fakeStream: far, opened: time.Now()})
	l.made++
	return near, nil
}

// ends returns how many circuits there were so far.
func (l *simLink) ends() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}

// look returns the circuits that are open.
func (l *simLink) look(t *testing.T) []*simCircuit {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	open := l.circuits[:0]
	for _, x := range l.circuits {
		if x.peer == nil && x.unread() > 0 {
			typ, payload, err := wtproto.NewReader(x).Next()
			if err != nil || typ != wtproto.TypePeer {
				t.Fatalf("a circuit began with %v, %v", typ, err)
			}
			x.peer = parseMessage(t, typ, payload).(wtproto.Peer).ID
		}
		if x.failure() == nil {
			open = append(open, x)
		}
	}
	clear(l.circuits[len(open):])
	l.circuits = open
	if len(l.streams) > 64+4*len(open) {
		var live []*fakeStream
		for _, s := range l.streams {
			if s.failure() == nil {
				live = append(live, s)
			}
		}
		l.streams = live
	}
	return open
}

// simClient is a client that is on one topic.
type simClient struct {
	number   uint64
	topic    int
	maxPeers int
	gateway  *simGateway
	link     *simLink      // nil while it has no session
	joined   time.Time     // when it did, the first time
	first    time.Duration // how long it then took to its first circuit; zero before
	frames   int           // that it was sent; owned by listen until that has ended
	left     message       // a LEFT that it did not expect; owned by listen until that has ended
	done     chan struct{} // closed when listen has ended
}

func (c *simClient) secret() (s wtproto.Secret) {
	binary.BigEndian.PutUint64(s[:], c.number)
	return s
}

// connect has c come to g and join its topic.
func (c *simClient) connect(g *simGateway) {
	l := &simLink{fakeLink: &fakeLink{
		from:       net.IPv4(10, byte(c.number>>16), byte(c.number>>8), byte(c.number)),
		fromClient: make(chan *fakeStream, 1),
		ended:      make(chan struct{}),
		credit:     -1,
	}}
	c.gateway, c.link, c.done = g, l, make(chan struct{})
	session := newSession(g.Server, l, func() {})
	g.wg.Go(func() { session.run() })
	control := l.dial()
	b := wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: c.secret(), Agent: "sim"}.Append(nil)
	control.Write(wtproto.Join{Topic: numbered(c.topic), Flags: announceAndLookUp, MaxPeers: uint64(c.maxPeers)}.Append(b))
	go c.listen(control)
}

// listen answers PING, and reads all else, until the session ends.
func (c *simClient) listen(control *fakeStream) {
	defer close(c.done)
	for r := wtproto.NewReader(control); ; {
		typ, payload, err := r.Next()
		if err != nil {
			return
		}
		c.frames++
		switch typ {
		case wtproto.TypePing:
			if ping, err := wtproto.ParsePing(payload); err == nil {
				control.Write(wtproto.Pong(ping).Append(nil))
			}
		case wtproto.TypeLeft:
			left, _ := wtproto.ParseLeft(payload)
			c.left = left
		}
	}
}

// leave ends c's session without a word, and returns how many circuits it had.
func (c *simClient) leave() (ends int) {
	c.link.end(nil)
	<-c.done
	ends = c.link.ends()
	c.link = nil
	return ends
}
