package client

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A server of streams gets those that peers open, for which JOIN asks, and its end is not that of
// the topic.
func TestListen(t *testing.T) { overEach(t, testListen) }

func testListen(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{LookUpOnly: true})
	l := topic.Listen()
	if m := r.joins(topicA); m.Flags != wtproto.JoinLookUp|wtproto.JoinStreams {
		t.Errorf("JOIN has the flags %v", m.Flags)
	}
	if l.Addr().Network() != "swarmgate" || l.Addr().String() != topicA.Short() {
		t.Errorf("Addr = %v", l.Addr())
	}
	topic.Listen().Close() // of two, one goes
	s := r.open(peer(1).Append(nil))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn.(*Conn), s)
	accepting := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepting <- err
	}()
	l.Close()
	if err := <-accepting; err != net.ErrClosed {
		t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
	}
	r.open(peer(2).Append(nil))
	waitPlaces(t, c, 2)
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
	}
	accept(t, topic)
}

// Conns ends without an error after Leave and Close, and with one otherwise.
func TestConns(t *testing.T) { overEach(t, testConns) }

func testConns(t *testing.T, g *fake) {
	c, r := g.session(nil)
	for _, tt := range []struct {
		name string
		end  func(*Topic, context.CancelFunc)
		want func(error) bool
	}{
		{"Close", func(topic *Topic, _ context.CancelFunc) { topic.Close() }, func(err error) bool { return err == nil }},
		{"the context", func(_ *Topic, cancel context.CancelFunc) { cancel() }, func(err error) bool { return errors.Is(err, context.Canceled) }},
		{"LEFT", func(*Topic, context.CancelFunc) {
			r.send(wtproto.Left{Topic: wtproto.TopicFromName("LEFT"), Code: wtproto.CodeForbidden})
		}, func(err error) bool {
			e, ok := errors.AsType[*wtproto.Error](err)
			return ok && e.Code == wtproto.CodeForbidden
		}},
	} {
		topic := r.join(c, wtproto.TopicFromName(tt.name), JoinOptions{})
		m := peer(wtproto.CircuitID(len(tt.name)))
		m.Topic = topic.Key()
		r.open(m.Append(nil))
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		var last error
		for conn, err := range topic.Conns(ctx) {
			n++
			if last = err; err == nil {
				conn.Close()
				tt.end(topic, cancel)
			}
		}
		cancel()
		if want := 2; !tt.want(last) || last != nil && n != want {
			t.Errorf("%s: %d rounds, the last with %v", tt.name, n, last)
		}
		if tt.name == "Close" {
			expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
		}
	}
}
