package client

import (
	"context"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// lasting makes a client connect again, to others too.
func lasting(others ...*fake) func(*Config) {
	return func(c *Config) {
		c.NoReconnect = false
		for _, g := range others {
			c.Gateways = append(c.Gateways, g.addr)
			c.CertHashes = append(c.CertHashes, g.config().CertHashes...)
		}
	}
}

// on is lasting for a client on n.
func (n *network) on(others ...*fake) func(*Config) {
	return func(c *Config) {
		lasting(others...)(c)
		c.ListenPacket = n.listen
	}
}

// diary is what a client tells.
type diary struct {
	t      testing.TB
	events chan Event
}

// read reads the events of c until it has ended.
func read(t testing.TB, c *Client) *diary {
	d := &diary{t: t, events: make(chan Event, maxEvents)}
	go func() {
		defer close(d.events)
		for e := range c.Events(context.Background()) {
			if _, ok := e.(GoingAway); !ok { // of which TestGoaway tells
				d.events <- e
			}
		}
	}()
	return d
}

// next returns the next event, or nil after the last one.
func (d *diary) next() Event {
	d.t.Helper()
	select {
	case e := <-d.events:
		return e
	case <-deadline(d.t).Done():
		d.t.Fatal("no event")
		return nil
	}
}

// nextIs returns the next event, which has to be an E.
func nextIs[E Event](d *diary) E {
	d.t.Helper()
	e := d.next()
	want, ok := e.(E)
	if !ok {
		d.t.Fatalf("event %#v, want a %T", e, want)
	}
	return want
}

// over reports an event, though the client has ended.
func (d *diary) over() {
	d.t.Helper()
	if e := d.next(); e != nil {
		d.t.Errorf("event %#v after the last one", e)
	}
}

// quiet reports an event that came.
func (d *diary) quiet() {
	d.t.Helper()
	select {
	case e := <-d.events:
		d.t.Errorf("event %#v", e)
	default:
	}
}

// end ends a session with a code.
func (r *remote) end(code wtproto.Code) {
	r.conn.CloseWithError(quic.ApplicationErrorCode(code), "because")
}

// changes reads n frames that are JOIN or LEAVE, and returns them by topic: a JOIN, or nil.
func (r *remote) changes(n int) map[wtproto.Topic]*wtproto.Join {
	r.t.Helper()
	all := make(map[wtproto.Topic]*wtproto.Join)
	for range n {
		switch typ, payload := r.next(); typ {
		case wtproto.TypeJoin:
			m, err := wtproto.ParseJoin(payload)
			if err != nil {
				r.t.Fatal(err)
			}
			all[m.Topic] = &m
		case wtproto.TypeLeave:
			m, err := wtproto.ParseLeave(payload)
			if err != nil {
				r.t.Fatal(err)
			}
			all[m.Topic] = nil
		default:
			r.t.Fatalf("gateway: got %v", typ)
		}
	}
	return all
}

// lose ends a session, and returns the next one when its HELLO and n JOINs have come.
func (g *fake) lose(r *remote, d *diary, n int) *remote {
	g.t.Helper()
	r.end(wtproto.CodeNone)
	nextIs[Disconnected](d)
	nextIs[Reconnecting](d)
	next := g.accept()
	next.changes(n)
	return next
}
