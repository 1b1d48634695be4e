package secret

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// linger is how long a closed circuit waits for the peer to take what was written.
const linger = 30 * time.Second

// closeTime is how long Close waits for the circuit to take what was written. The rest goes on
// without it.
const closeTime = time.Second

// Conn is a sealed circuit: a [net.Conn] with half-close and codes, as [client.Conn] is. Any number
// of goroutines may use it, Read and Write at the same time.
//
// Write returns once it has put all of its bytes into a buffer of two records, which goes on its
// way at once unless what was written before still is; that is when small writes become one record.
// CloseWrite waits until all is on its way.
//
// If something between the two ends has changed, left out, added or reordered anything, or has cut
// the peer's direction off, the circuit is reset, and Read and Write return an [*wtproto.Error]
// with CodeProtocol. If the peer's direction was cut off, the error is an io.ErrUnexpectedEOF too.
// All bytes that Read has returned before are the peer's. Other errors are those of [client.Conn].
type Conn struct {
	// constant
	circuit   Circuit
	initiator bool
	key       Key
	binding   [32]byte

	reading sync.Mutex // held by Read, and by whoever reads off what is left after Close
	// owned by who holds reading
	records recordReader
	receive direction
	rest    []byte // of a record, not yet returned
	ended   bool   // the end record has come

	writing sync.Mutex // held by Write and CloseWrite
	out     outbox

	mu     sync.Mutex
	closed bool  // guarded by mu; by Close or Reset
	err    error // guarded by mu; what Read and Write found wrong with the peer's bytes
}

var _ net.Conn = (*Conn)(nil)

func newConn(c Circuit, initiator bool, s secured, interval uint64) *Conn {
	sealed := &Conn{
		circuit: c, initiator: initiator, key: s.key, binding: s.binding,
		records: recordReader{src: c},
		receive: direction{s.receive, interval},
	}
	sealed.out.init(c, direction{s.send, interval})
	if conn, ok := c.(*client.Conn); ok {
		conn.OnShutdown(func() { sealed.Close() })
	}
	return sealed
}

// Key returns the static key of the peer, by which it can be recognized.
func (c *Conn) Key() Key { return c.key }

// Binding returns 32 bytes that both ends have in common, and no other circuit has: Noise's
// handshake hash.
func (c *Conn) Binding() [32]byte { return c.binding }

// Initiator says that this end is the initiator; the other end has agreed that it is not.
func (c *Conn) Initiator() bool { return c.initiator }

// Peer returns who is at the other end, as the gateway says, if the circuit is a [*client.Conn].
func (c *Conn) Peer() client.Peer {
	if conn, ok := c.circuit.(*client.Conn); ok {
		return conn.Peer()
	}
	return client.Peer{}
}

// LocalAddr returns that of the circuit, if it has one.
func (c *Conn) LocalAddr() net.Addr {
	if a, ok := c.circuit.(interface{ LocalAddr() net.Addr }); ok {
		return a.LocalAddr()
	}
	return addr("")
}

// RemoteAddr returns that of the circuit, or else the peer's key as an address.
func (c *Conn) RemoteAddr() net.Addr {
	if a, ok := c.circuit.(interface{ RemoteAddr() net.Addr }); ok {
		return a.RemoteAddr()
	}
	return addr(c.key.String())
}

type addr string

func (addr) Network() string  { return "swarmgate/secret" }
func (a addr) String() string { return string(a) }

// Read reads what the peer sent.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.state(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.rest) == 0 {
		n, err := c.readRecord(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readRecord reads the next record into p if that is large enough, or else into c.rest.
func (c *Conn) readRecord(p []byte) (int, error) {
	if c.ended {
		return 0, c.readError(c.records.end())
	}
	record, err := c.records.next()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // only the end record ends the direction
	}
	if err != nil {
		return 0, c.readError(err)
	}
	dst := record[:0]
	whole := len(record)-tagSize <= len(p)
	if whole {
		dst = p[:0]
	}
	data, err := c.receive.open(dst, record)
	switch {
	case err != nil:
		return 0, c.fail(err)
	case len(data) == 0:
		c.ended = true
		return 0, c.readError(c.records.end())
	case whole:
		return len(data), nil
	}
	c.rest = data
	return 0, nil
}

// readError returns what Read says for an error of the circuit or of a length.
func (c *Conn) readError(err error) error {
	switch err {
	case io.EOF:
		return err
	case io.ErrUnexpectedEOF, errShortRecord, errAfterEnd:
		return c.fail(err)
	}
	if ended := c.state(); ended != nil {
		return ended // which the circuit does not know
	}
	return err
}

// state returns why Read and Write cannot go on.
func (c *Conn) state() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.err
}

// fail ends the circuit because of what came on it.
func (c *Conn) fail(cause error) error {
	reason := "the peer's bytes were changed on their way"
	if cause == io.ErrUnexpectedEOF {
		reason = "the peer's direction was cut off"
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = &wtproto.Error{Code: wtproto.CodeProtocol, Reason: reason, Err: cause}
	}
	err := c.err
	c.mu.Unlock()
	c.circuit.Reset(wtproto.CodeProtocol)
	c.out.stop(err)
	return err
}

// Write sends p to the peer. It returns once it has taken all of p, or with an error and how much
// it has taken. An error of the circuit may come with a later Write or CloseWrite.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.out.write(p)
}

// CloseWrite tells the peer that no more comes; its Read returns io.EOF once it has read all. It
// waits for a Write in progress, and until all is on its way. A second call does nothing.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.out.end()
}

// Close ends the circuit. What was written reaches the peer, followed by the end, unless that takes
// longer than 30 s: then the circuit is reset with CodeNone. What the peer still sends is thrown
// away. A Read in progress fails; if a Write is, the circuit is reset with CodeNone. Close may be
// called more than once. The error is always nil.
//
// Close does not wait longer than a second. [client.Client.Shutdown] calls it, and waits.
func (c *Conn) Close() error {
	if !c.setClosed() {
		return nil
	}
	c.circuit.SetReadDeadline(time.Unix(1, 0)) // ends Read
	finished, whole := c.out.close()
	if !whole {
		c.Reset(wtproto.CodeNone)
		return nil
	}
	late := time.AfterFunc(linger, func() { c.Reset(wtproto.CodeNone) })
	finish := func() {
		late.Stop()
		c.circuit.Close()
	}
	select {
	case <-finished:
		finish()
	case <-time.After(closeTime):
		go c.readOff() // because the peer may be waiting for that; ends with the circuit
		go func() {    // ends when the circuit has taken all, or late has reset it
			<-finished
			finish()
		}()
	}
	return nil
}

// readOff reads what the peer still sends.
func (c *Conn) readOff() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.circuit.SetReadDeadline(time.Now().Add(linger))
	io.Copy(io.Discard, c.circuit)
}

// Reset ends the circuit at once, both ways; the peer gets the code if its network can carry one.
// What was written may be lost. It may be called after Close, and more than once; the first code
// counts.
func (c *Conn) Reset(code wtproto.Code) {
	c.setClosed()
	c.circuit.Reset(code)
	c.out.stop(net.ErrClosed)
}

// setClosed notes the end by this end, and reports whether it is the first.
func (c *Conn) setClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.closed
	c.closed = true
	return first
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes Read fail at t, one in progress too. The zero time means never. Nothing is
// lost by that: a later Read goes on.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.circuit.SetReadDeadline(t)
}

// SetWriteDeadline makes Write and CloseWrite fail at t, those in progress too. The zero time means
// never. What a Write has taken before that is still on its way, and a later one goes on.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.out.setDeadline(t)
	return nil
}
