package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// After GOAWAY nothing new is given, and what there is goes on.
func TestGoaway(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		a, b := g.connect(), g.connect()
		a.join(announceAndLookUp, 0)
		b.join(announceAndLookUp, 0)
		x, y := a.circuit(), b.circuit()
		down := make(chan error, 1)
		go func() { down <- g.Shutdown(t.Context()) }()
		for _, c := range []*fakeClient{a, b} {
			m := expect[wtproto.Goaway](c)
			if m.Code != wtproto.CodeShutdown || m.RetryAfter < time.Second || m.Reason == "" {
				t.Errorf("%+v, want SHUTDOWN, a time to come back and a reason", m)
			}
		}
		other := wtproto.TopicFromName("other")
		a.send(wtproto.Join{Topic: other})
		if l := expect[wtproto.Left](a); l.Topic != other || l.Code != wtproto.CodeShutdown || l.Reason == "" {
			t.Errorf("JOIN after GOAWAY: %+v, want LEFT with SHUTDOWN", l)
		}
		a.send(wtproto.Join{Topic: wowcool, Flags: wtproto.JoinLookUp}) // options may change
		expect[wtproto.Joined](a)
		late := g.dial()
		late.hello()
		late.ends(wtproto.CodeShutdown)
		g.lan.see(g.lan.peer("1").sighting())
		if n := a.streams() + b.streams(); n != 0 {
			t.Errorf("%d new circuits after GOAWAY", n)
		}
		pass(10 * time.Second)
		talk(t, x, y)
		x.CloseWrite()
		y.CloseWrite()
		if err := receive(t, down, "end of Shutdown"); err != nil {
			t.Errorf("Shutdown = %v, want nil after the last circuit", err)
		}
		a.ends(wtproto.CodeShutdown)
		b.ends(wtproto.CodeShutdown)
	})
}

// The client hears nothing of a peer that answers after GOAWAY: not even a WITHDRAW of a circuit
// that it does not know.
func TestGoawayWhileDialed(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c, _, _, _ := g.open("1")
		c.link.loses = true
		p := g.lan.peer("2")
		release := p.waits()
		g.lan.see(p.sighting())
		go g.Shutdown(t.Context())
		expect[wtproto.Goaway](c)
		release()
		wantReset(t, p.circuit(), wtproto.CodeShutdown)
		c.quiet()
		for c.streams() > 0 {
			if s := <-c.link.toClient; s.unread() > 0 {
				t.Error("the client was told of a new circuit")
			}
		}
	})
}

// The times to come back are spread so that not all come at once.
func TestGoawaySpread(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		const clients = 400
		var all []*fakeClient
		for range clients {
			all = append(all, g.connect())
		}
		down := make(chan error, 1)
		go func() { down <- g.Shutdown(t.Context()) }()
		least, most := time.Hour, time.Duration(0)
		for _, c := range all {
			retry := expect[wtproto.Goaway](c).RetryAfter
			least, most = min(least, retry), max(most, retry)
		}
		if least < time.Second || most > 3*time.Second || most-least < time.Second {
			t.Errorf("%d sessions come back after %v to %v, want from 1s to 3s, spread", clients, least, most)
		}
		if err := receive(t, down, "end of Shutdown"); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
}

func TestShutdownTakes(t *testing.T) {
	for _, test := range []struct {
		name    string
		clients func(*bubble) // what is there
		want    time.Duration
		err     error
	}{
		{"nobody", func(*bubble) {}, 0, nil},
		{"silent connections", func(g *bubble) { g.dial() }, 0, nil},
		{"sessions without circuits", func(g *bubble) {
			g.connect()
			g.connect().join(announceAndLookUp, 0)
		}, time.Second, nil},
		{"a session that goes by itself", func(g *bubble) {
			c := g.connect()
			time.AfterFunc(300*time.Millisecond, func() { c.link.end(nil) })
		}, 300 * time.Millisecond, nil},
		{"circuits until they end", func(g *bubble) {
			a, _ := g.pair()
			time.AfterFunc(5*time.Second, func() { reset(a, wtproto.CodeApplication) })
		}, 5 * time.Second, nil},
		{"circuits that do not end", func(g *bubble) { g.pair() }, 30 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				test.clients(g)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				start := time.Now()
				err := g.Shutdown(ctx)
				// Whether circuits are left is looked at ten times a second.
				if took := time.Since(start); err != test.err || took < test.want || took > test.want+100*time.Millisecond {
					t.Errorf("Shutdown = %v after %v, want %v after %v", err, took, test.err, test.want)
				}
				synctest.Wait()
				if n := g.Sessions(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}

func TestServeAfterClose(t *testing.T) {
	s := quietServer(t, Config{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if err := s.Serve(nil); err != http.ErrServerClosed {
		t.Errorf("Serve after Close = %v, want %v", err, http.ErrServerClosed)
	}
}

// A socket that fails under Serve is what Serve returns: it once took that for the end that
// somebody had asked for, and the program ended well.
func TestServeReturnsWhyTheSocketFailed(t *testing.T) {
	s := quietServer(t, Config{})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(conn) }()
	<-s.Started()
	conn.Close()
	if err := <-done; err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want why the socket failed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// What does not end is said after 8 s.
func TestRemains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemains()
		r.enter("topic")
		r.enter("circuit")
		r.enter("topic")
		r.enter("session")
		r.leave("session")
		began := time.Now()
		err := r.await(make(chan struct{}))
		if took := time.Since(began); err == nil || !strings.HasSuffix(err.Error(), "(circuit: 1, topic: 2)") || took != 8*time.Second {
			t.Errorf("await = %v after %v, want after 8s what remains", err, took)
		}
		ended := make(chan struct{})
		close(ended)
		if err := r.await(ended); err != nil {
			t.Errorf("await = %v after the end", err)
		}
	})
}
