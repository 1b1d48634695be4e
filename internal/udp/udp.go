// Package udp gives QUIC a UDP socket that is faster and harder to kill than the standard one.
// [Listen] opens a [Conn], [Wrap] makes one of a socket that is there. It goes into
// quic.Transport, which finds all that it looks for: buffers that it sets to 7 MiB, GSO, ECN and
// packet info are those of the *net.UDPConn below. Two things are added:
//
//   - On Linux the kernel delivers packets of one flow together (UDP GRO), and [Conn.ReadBatch]
//     takes them apart.
//   - An error of sending that may pass by itself is a lost packet, not the end of the QUIC connection.
package udp

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
)

// Conn is a UDP socket for quic.Transport. Whoever opened or wrapped it closes it, and any number
// of goroutines may use it. Read with the methods that are defined here: others of the embedded
// UDPConn return many packets as one where there is GRO.
type Conn struct {
	*net.UDPConn

	leaveNew atomic.Bool // LeaveNew was called

	// constant after Wrap
	gro    bool
	reader batchReader
	send   func(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
}

// batchReader is how quic-go reads where the system can do it.
type batchReader interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

// Listen opens a socket on addr, "host:port", as [net.ListenPacket] does. network is "udp", "udp4"
// or "udp6".
func Listen(network, addr string) (*Conn, error) {
	a, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	socket, err := net.ListenUDP(network, a)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	c, err := Wrap(socket)
	if err != nil {
		socket.Close()
		return nil, err
	}
	return c, nil
}

// Wrap returns a Conn of socket, which the Conn owns unless there is an error. That the kernel has
// no GRO is none.
func Wrap(socket *net.UDPConn) (*Conn, error) {
	reader, gro, err := newReader(socket)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	return &Conn{UDPConn: socket, gro: gro, reader: reader, send: socket.WriteMsgUDP}, nil
}

// GRO reports whether the kernel delivers packets of one flow together.
func (c *Conn) GRO() bool { return c.gro }

// ReadBatch waits for packets and reads up to len(ms) of them, as [ipv4.PacketConn.ReadBatch]
// does. Each message is one packet as it was sent, with its own copy of the control messages;
// packets of one flow may share the Addr. A read deadline and Close end the wait, but packets that
// the kernel has handed over before are still returned. flags are those of recvmmsg(2) without
// MSG_PEEK.
func (c *Conn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := c.reader.ReadBatch(ms, flags)
	if c.leaveNew.Load() {
		for i := range ms[:n] {
			if m := &ms[i]; isFirst(m.Buffers[0][:m.N]) {
				m.N = 0
			}
		}
	}
	return n, err
}

// LeaveNew makes [Conn.ReadBatch] return the first packets of new QUIC connections as empty ones
// from now on, so that their clients send them again, to whoever reads this socket next. The
// connection ids of servers here have to be shorter than 8 bytes.
func (c *Conn) LeaveNew() { c.leaveNew.Store(true) }

// isFirst reports whether p is a packet with a long header whose destination has not chosen its
// connection id yet: only what a client makes up has 8 bytes or more (RFC 9000, 7.2).
func isFirst(p []byte) bool { return len(p) > 5 && p[0]&0x80 != 0 && p[5] >= 8 }

// ReadFrom reads one packet, as [net.UDPConn.ReadFrom] does.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	if !c.gro {
		return c.UDPConn.ReadFrom(b)
	}
	n, _, _, addr, err := c.ReadMsgUDP(b, nil)
	if err != nil {
		return 0, nil, err // a nil *net.UDPAddr would be no nil net.Addr
	}
	return n, addr, nil
}

// ReadMsgUDP reads one packet and its control messages, as [net.UDPConn.ReadMsgUDP] does.
func (c *Conn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	if !c.gro {
		return c.UDPConn.ReadMsgUDP(b, oob)
	}
	ms := [1]ipv4.Message{{Buffers: [][]byte{b}, OOB: oob}}
	if _, err := c.reader.ReadBatch(ms[:], 0); err != nil {
		return 0, 0, 0, nil, err
	}
	m := &ms[0]
	return m.N, m.NN, m.Flags, m.Addr.(*net.UDPAddr), nil
}

// WriteMsgUDP sends a packet, or several that a UDP_SEGMENT control message divides, as
// [net.UDPConn.WriteMsgUDP] does. A packet that meets a network, an address, a route or a filter
// that is not as it should be is reported as sent. It is lost like any other: QUIC sends its data
// again, and gives up once the peer has been silent for too long rather than at the first such
// packet. So where there is no network at all a dial ends by its deadline.
func (c *Conn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.send(b, oob, addr)
	if err == nil {
		return n, oobn, nil
	}
	if errors.Is(err, syscall.EPERM) {
		// The first packet of a socket may meet EPERM for no reason (https://go.dev/issue/63322).
		// quic-go would send it again if it saw the error, so that a handshake need not wait for
		// its timer.
		n, oobn, err = c.send(b, oob, addr)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && slices.Contains(transient, errno) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo sends a packet, as [net.UDPConn.WriteTo] does, and reports the errors that
// [Conn.WriteMsgUDP] does.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return c.UDPConn.WriteTo(b, addr) // says what is wrong with addr
	}
	n, _, err := c.WriteMsgUDP(b, nil, a)
	return n, err
}

// IsRefused reports whether err, of a socket that is connected, tells that nobody listens on the
// port of the other end: its machine has said so (ICMP), or somebody in its name.
func IsRefused(err error) bool { return errors.Is(err, refused) }
