package dat

import (
	"context"
	"net/netip"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// circuit is a connection with a peer. It is counted until it ends.
type circuit struct {
	discovery.Stream
	host   *Host
	member member
	remote netip.AddrPort
	shake  shake // of the handshake; the zero value without one
	echo   *echo // nil unless it may lead to ourselves
	once   sync.Once

	failed context.Context // ends when the host has ended it, with the reason as the cause
	end    context.CancelCauseFunc
}

var (
	_ discovery.Located  = (*circuit)(nil)
	_ discovery.Watched  = (*circuit)(nil)
	_ discovery.Readable = (*circuit)(nil)
)

// count makes s, a connection with remote, a circuit of m.
func (h *Host) count(m member, s discovery.Stream, remote netip.AddrPort) *circuit {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[m]++
	c := &circuit{Stream: s, host: h, member: m, remote: remote}
	c.failed, c.end = context.WithCancelCause(context.Background())
	return c
}

// OnLost observes the connection, and whether the host has ended the circuit: if the peer's end was
// read before that, no Read reports it.
func (c *circuit) OnLost(f func(error)) (stop func()) {
	var once sync.Once
	lost := func(err error) { once.Do(func() { f(err) }) }
	below := c.Stream
	if v, ok := below.(*visitor); ok {
		below = v.Stream
	}
	stopBelow := func() {}
	if w, ok := below.(discovery.Watched); ok {
		stopBelow = w.OnLost(func(err error) { lost(c.explain(err)) })
	}
	stopFailed := context.AfterFunc(c.failed, func() { lost(context.Cause(c.failed)) })
	return func() {
		stopFailed()
		stopBelow()
	}
}

// Remote makes the circuit a [discovery.Located].
func (c *circuit) Remote() netip.AddrPort { return c.remote }

func (c *circuit) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	return n, c.explain(err)
}

// OnReadable is that of the connection.
func (c *circuit) OnReadable(f func()) bool {
	r, ok := c.Stream.(discovery.Readable)
	return ok && r.OnReadable(f)
}

func (c *circuit) Write(b []byte) (int, error) {
	c.echo.note(b)
	n, err := c.Stream.Write(b)
	return n, c.explain(err)
}

// explain returns why the host has ended the circuit, if it has, for an error that came of that.
func (c *circuit) explain(err error) error {
	if cause := context.Cause(c.failed); err != nil && cause != nil {
		return cause
	}
	return err
}

func (c *circuit) Reset(code wtproto.Code) {
	c.Stream.Reset(code)
	c.over()
}

func (c *circuit) Close() error {
	err := c.Stream.Close()
	c.over()
	return err
}

// over ends the counting of c.
func (c *circuit) over() {
	c.once.Do(func() {
		h := c.host
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.counts[c.member]--; h.counts[c.member] == 0 {
			delete(h.counts, c.member)
		}
		h.partLocked(c)
		h.silenceLocked(c.echo)
	})
}

// fail ends c for a reason of the host.
func (c *circuit) fail(cause *wtproto.Error) {
	c.end(cause)
	c.Reset(cause.Code)
}

var errReplaced = wtproto.Errorf(wtproto.CodeReplaced, "another connection with the same peer takes its place")
