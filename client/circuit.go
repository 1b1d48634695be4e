package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// linger is how long a circuit that was closed waits for its peer's end, so that the peer gets
// all that was written.
const linger = 30 * time.Second

// Peer is the other end of a circuit.
type Peer struct {
	// Topic is the topic of the circuit.
	Topic wtproto.Topic
	// Network is how the gateway reaches it: "dht", "lan", "static", or [wtproto.NetworkClient].
	Network string
	// ID names it on its network, at most [wtproto.MaxPeerID] bytes. It is not to be changed.
	ID []byte
	// Address is where it is. Empty unless the gateway shows addresses.
	Address string
	// Initiator says that this end is the initiator, and the peer is not. A program that needs two
	// roles uses it, for example to decide who speaks first, or who is the client of a TLS
	// handshake.
	Initiator bool
	// Client says that the peer is a client of a gateway, ours ([wtproto.NetworkClient]) or
	// another. Else it is a native peer or a TCP service.
	Client bool
	// Further says that the circuit is one more with this peer, which [Topic.Open] of this client
	// or of the other end has asked for. The gateway made the first one.
	Further bool
}

// Short returns the peer in a few characters, for people, such as "dht 12D3…K9fQ": its network and
// the ends of its id as libp2p writes it, or of its endpoint id in hex if it is a client. Two peers
// may have the same text; [Peer.String] tells them apart.
func (p Peer) Short() string {
	name := wtproto.HostID(p.ID)
	switch {
	case p.Client && len(p.ID) >= wtproto.EndpointSize:
		name = hex.EncodeToString(p.ID[len(p.ID)-wtproto.EndpointSize:])
	case name == "":
		name = hex.EncodeToString(p.ID)
	}
	if len(name) > 12 {
		name = name[:4] + "…" + name[len(name)-4:]
	}
	return p.Network + " " + name
}

// String returns the network and the id in hex, such as
// "client/de9571a4fa3ee9d9afee1424fb20a67d". Two peers of a topic with the same text are the same
// peer.
func (p Peer) String() string { return p.Network + "/" + hex.EncodeToString(p.ID) }

func (p Peer) same(q Peer) bool { return p.Network == q.Network && bytes.Equal(p.ID, q.ID) }

// newPeer returns what PEER says.
func newPeer(m wtproto.Peer) Peer {
	return Peer{
		Topic: m.Topic, Network: m.Network, ID: slices.Clone(m.ID), Address: m.Address,
		Initiator: m.Flags&wtproto.PeerInitiator != 0, Client: m.Flags&wtproto.PeerClient != 0,
		Further: m.Flags&wtproto.PeerFurther != 0,
	}
}

// Conn is a circuit with a peer. It is a [net.Conn] with half-close and codes: any number of
// goroutines may use it, Read and Write at the same time.
//
// Read and Write return io.EOF after the peer's CloseWrite (Read only), net.ErrClosed after
// Close, Reset and (Write only) CloseWrite, an error that is an os.ErrDeadlineExceeded after a
// deadline, an [*wtproto.Error] with Remote and the code where the peer or the gateway reset the
// circuit, and one without Remote and with CodePeerGone once its session was lost: the peer is
// likely to be met again, on another circuit.
type Conn struct {
	// constant before the circuit is the caller's
	session *session
	topic   *Topic
	id      wtproto.CircuitID
	peer    Peer
	offered bool // it came as an offer

	stream stream // constant before the circuit is queued

	account   account // guarded by session.mu
	crediting bool    // guarded by session.mu; it is in the outbox

	reading sync.Mutex // held by Read, and by whoever reads off what is left after Close
	writing sync.Mutex // held by Write and CloseWrite

	taken bool // guarded by client.mu; it is the program's: accepted, or asked for
	over  bool // guarded by client.mu; it was reset, and holds what was sent before

	mu     sync.Mutex
	closed bool   // guarded by mu; by Close or Reset
	first  bool   // guarded by mu; that was before the peer had ended its direction or reset
	busy   bool   // guarded by mu; Write writes
	eof    bool   // guarded by mu; all was read
	fin    bool   // guarded by mu; all was written
	err    error  // guarded by mu; why the circuit ended, unless by Close, Reset or regularly
	onShut func() // guarded by mu; what Shutdown calls instead of Close, or nil
}

var _ net.Conn = (*Conn)(nil)

// newConn returns a circuit that has no place in s and no stream.
func newConn(s *session, t *Topic, m wtproto.Peer) *Conn {
	return &Conn{session: s, topic: t, id: m.Circuit, peer: newPeer(m)}
}

// Peer returns who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// LocalAddr returns this client as an address: the network is "swarmgate", the text its endpoint
// id.
func (c *Conn) LocalAddr() net.Addr {
	return addr{wtproto.ALPN, c.session.cfg.Secret.Endpoint().String()}
}

// RemoteAddr returns the peer as an address: the network is [Peer.Network], the text its address,
// or its id in hex where the gateway does not show addresses.
func (c *Conn) RemoteAddr() net.Addr {
	if c.peer.Address != "" {
		return addr{c.peer.Network, c.peer.Address}
	}
	return addr{c.peer.Network, hex.EncodeToString(c.peer.ID)}
}

type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

// Read reads what the peer sent. It may return n > 0 together with io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed // what is left is not for Read
	}
	n, err := c.stream.Read(p)
	if n > 0 {
		c.session.consumed(c, n)
	}
	if err != nil {
		err = c.readError(err)
	}
	return n, err
}

// Write sends p to the peer. It returns once all of p is on its way, or with an error and what
// part of it is. If several circuits send much at once, a Write of less than 32 KiB may return
// earlier. Then at most 64 KiB wait that a circuit has written. They are sent though a deadline
// passes, and before the end.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.setBusy(true) {
		return 0, net.ErrClosed
	}
	n, err := c.stream.Write(p)
	c.setBusy(false)
	if err != nil {
		err = c.streamError(err)
	}
	return n, err
}

// CloseWrite tells the peer that no more comes; its Read returns io.EOF once it has read all. It
// waits for a Write in progress. A second call does nothing.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isClosed() {
		return net.ErrClosed
	}
	if err := c.stream.CloseWrite(); err != nil {
		return c.streamError(err)
	}
	if cause := context.Cause(c.session.ctx); cause != nil {
		return circuitError(cause) // which the stream does not say
	}
	c.finish(&c.fin)
	return nil
}

// Close ends the circuit. What was written reaches the peer, followed by the end; what the peer
// still sends is thrown away, until it ends too or 30 s have passed. A Read in progress fails; if
// a Write is, the circuit is reset with CodeNone. Close does not wait for the peer, and may be
// called more than once. The error is always nil.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	busy := c.busy
	eof := c.eof || c.err != nil
	c.closed, c.first = true, !eof
	c.stream.SetDeadline(time.Unix(1, 0)) // wakes Read and Write
	c.mu.Unlock()
	if busy {
		c.Reset(wtproto.CodeNone)
		return nil
	}
	c.writing.Lock() // of CloseWrite, or of a Write that is too late
	err := c.stream.CloseWrite()
	c.writing.Unlock()
	reset, byPeer := errors.AsType[*resetError](err)
	switch {
	case eof:
		c.session.remove(c)
	case byPeer:
		c.end(reset.circuit(), wtproto.CodeNone)
	case err != nil:
		c.Reset(wtproto.CodeNone)
	default:
		c.session.spawn(c.readOff)
	}
	return nil
}

// OnShutdown has [Client.Shutdown] call f instead of Close, on a goroutine of its own. It is for a
// layer that holds bytes back, as package secret does: f ends the circuit in the way of that layer,
// with Close at last.
func (c *Conn) OnShutdown(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onShut = f
}

// shut does what Shutdown does with a circuit. It does not wait for the peer.
func (c *Conn) shut() {
	c.mu.Lock()
	f := c.onShut
	c.mu.Unlock()
	if f == nil {
		c.Close()
		return
	}
	c.session.spawn(f)
}

// readOff waits for the end of what the peer sends, after Close.
func (c *Conn) readOff() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.stream.SetReadDeadline(time.Now().Add(linger))
	_, err := io.Copy(io.Discard, c.stream)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.stream.stop(wtproto.CodeNone)
	}
	if e, ok := errors.AsType[*resetError](err); ok {
		c.note(e.circuit())
	}
	c.session.remove(c)
}

// Reset ends the circuit at once, both ways; the peer gets the code where its network can carry
// one. Codes from [wtproto.CodeApplication] on are the programs' own. What was written may be
// lost. It may be called after Close, and more than once; the first code counts.
func (c *Conn) Reset(code wtproto.Code) {
	c.mu.Lock()
	if !c.closed {
		c.closed, c.first = true, !c.eof && c.err == nil
	}
	c.mu.Unlock()
	c.stream.reset(code)
	c.session.remove(c)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(c.stream.SetDeadline, t) }

// SetReadDeadline makes Read fail at t, one in progress too. The zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(c.stream.SetReadDeadline, t) }

// SetWriteDeadline makes Write fail at t, one in progress too. The zero time means never. A Write
// that failed may have sent a part.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.stream.SetWriteDeadline, t) }

// deadline sets one unless c is closed: its deadlines are Close's then.
func (c *Conn) deadline(set func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return set(t)
}

// setBusy notes whether Write writes, and reports whether c is open.
func (c *Conn) setBusy(busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy && !c.closed
	return !c.closed
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// finish notes the end of one direction, side, which is c.eof or c.fin. After both the circuit
// has ended.
func (c *Conn) finish(side *bool) {
	c.mu.Lock()
	*side = true
	eof, both := c.eof, c.eof && c.fin
	c.mu.Unlock()
	switch {
	case both:
		c.session.remove(c)
	case eof:
		c.session.settle(c)
	}
}

// end ends the circuit with err, and resets the stream with code.
func (c *Conn) end(err error, code wtproto.Code) {
	c.note(err)
	c.stream.reset(code)
	c.session.remove(c)
}

// note notes why the circuit ends. The first reason counts.
func (c *Conn) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// ending returns what the end of the circuit says of its peer.
func (c *Conn) ending() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	how := endedThere
	if e, ok := errors.AsType[*wtproto.Error](c.err); ok {
		how = endingOf(e.Code)
	}
	if c.first && how != endedLost {
		return endedHere
	}
	return how
}

// wasReset takes a reset by the peer that nobody may be about to read.
func (c *Conn) wasReset(code wtproto.Code) {
	if c.topic.wasReset(c, code) {
		return // it is the program's to end
	}
	c.session.spawn(func() {
		switch c.topic.keep(c, c.stream.holds()) {
		case resetWaits:
			c.session.remove(c)
		case resetUnread:
			c.end((&resetError{code}).circuit(), code)
		}
	})
}

// readError returns what Read says for an error of the stream. A reset is the end of both
// directions.
func (c *Conn) readError(err error) error {
	if err == io.EOF {
		c.finish(&c.eof)
		return err
	}
	if e, ok := errors.AsType[*resetError](err); ok {
		c.end(e.circuit(), e.code)
	}
	return c.streamError(err)
}

// streamError returns what Read and Write say for an error of the stream. What the peer sent
// before it reset the other direction can still be read, so an error of Write does not end the
// circuit.
func (c *Conn) streamError(err error) error {
	c.mu.Lock()
	closed, ended := c.closed, c.err
	c.mu.Unlock()
	switch {
	case closed:
		return net.ErrClosed
	case ended != nil:
		return ended
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case err == net.ErrClosed: // by CloseWrite
		return err
	}
	if e, ok := errors.AsType[*resetError](err); ok {
		return e.circuit()
	}
	return c.session.fail(err)
}
