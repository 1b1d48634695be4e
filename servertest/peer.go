package servertest

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// backlog is how many circuits of a peer wait for Accept. A gateway waits for more, as for any
// peer that does not answer.
const backlog = 128

// Peer is a native peer of one topic, in the memory of the test. It is a [net.Listener], so
// http.Serve takes it. Clients see it on the network "test". Any number of goroutines may use it.
type Peer struct {
	network *network
	topic   wtproto.Topic
	id      []byte
	backlog chan *Conn
	done    chan struct{} // closed by Close
	once    sync.Once
}

var _ net.Listener = (*Peer)(nil)

// ID returns what clients know the peer by: the ID of client.Peer.
func (p *Peer) ID() []byte { return slices.Clone(p.id) }

// Addr returns the peer's network, "test", and its id in hex.
func (p *Peer) Addr() net.Addr { return addr(hex.EncodeToString(p.id)) }

// Accept waits for the next circuit that a client opens, the first one with it or a further one.
// It is a [*Conn], and the caller's to close. After Close the error is [net.ErrClosed].
func (p *Peer) Accept() (net.Conn, error) {
	select {
	case <-p.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-p.backlog:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Open opens a further circuit with a client, which has to have joined the topic and to welcome
// streams: [Conn.Endpoint] of another circuit tells who it is, or the LocalAddr of its
// client.Conn. The chain of an error holds an [*wtproto.Error] with the code of the refusal, or
// ctx's cause.
func (p *Peer) Open(ctx context.Context, to wtproto.EndpointID) (*Conn, error) {
	near, far := pipe(p, to)
	i := &inbound{to: to, stream: gatewayStream{near}, answer: make(chan error, 1)}
	p.network.see(p.topic, discovery.Sighting{Peer: p.describe(), Inbound: i})
	select {
	case err := <-i.answer:
		if err != nil {
			return nil, err
		}
		return far, nil
	case <-ctx.Done():
		far.Reset(wtproto.CodeNone)
		return nil, context.Cause(ctx)
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close has the peer leave its topic, and ends Accept. Circuits that were accepted go on. It may
// be called more than once. The error is always nil.
func (p *Peer) Close() error {
	p.once.Do(func() {
		close(p.done)
		p.network.see(p.topic, discovery.Sighting{Peer: p.describe(), Gone: true})
		for {
			select {
			case c := <-p.backlog:
				c.Reset(wtproto.CodeLeft)
			default:
				return
			}
		}
	})
	return nil
}

func (p *Peer) describe() discovery.Peer {
	return discovery.Peer{Network: networkName, ID: string(p.id), Address: networkName + ":" + hex.EncodeToString(p.id[:4])}
}

// dialed is a gateway's dial on behalf of a client.
func (p *Peer) dialed(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
	near, far := pipe(p, from)
	select {
	case <-p.done:
		return nil, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Remote: true, Reason: "the peer is closed"}
	default:
	}
	select {
	case p.backlog <- far:
		return gatewayStream{near}, nil
	case <-p.done:
		return nil, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Remote: true, Reason: "the peer is closed"}
	case <-ctx.Done():
		return nil, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "the peer accepts nothing", Err: ctx.Err()}
	}
}

// inbound is a [discovery.Inbound] of Open.
type inbound struct {
	to     wtproto.EndpointID
	stream discovery.Stream
	answer chan error // takes one
	taken  sync.Once
}

// take reports whether the caller is the first one, who passes it on.
func (i *inbound) take() (first bool) {
	i.taken.Do(func() { first = true })
	return first
}

func (i *inbound) To() wtproto.EndpointID { return i.to }
func (i *inbound) Further() bool          { return true }

func (i *inbound) Accept() (discovery.Stream, error) {
	i.answer <- nil
	return i.stream, nil
}

func (i *inbound) Refuse(code wtproto.Code) {
	i.answer <- &wtproto.Error{Code: code, Remote: true, Reason: "the gateway refused the circuit"}
}

// addr is an id on the network of the peers here.
type addr string

func (a addr) Network() string { return networkName }
func (a addr) String() string  { return string(a) }
