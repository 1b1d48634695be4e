package client

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// tokens is a source that counts: token 1, token 2 and so on.
type tokens struct{ asked atomic.Int64 }

func (s *tokens) next(context.Context) ([]byte, error) {
	return []byte("token " + strconv.FormatInt(s.asked.Add(1), 10)), nil
}

// with has a client ask s for tokens.
func (s *tokens) with(n *network) func(*Config) {
	return func(c *Config) {
		n.on()(c)
		c.TokenSource = s.next
	}
}

// Each attempt shows a token of its own. A session that ends because its token expired is a loss;
// a fresh token that is refused after it is the end.
func TestTokenSource(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		var s tokens
		c, r := g.session(s.with(n))
		d := read(t, c)
		nextIs[Connected](d)
		if string(r.hello.Token) != "token 1" {
			t.Errorf("the first session shows %q", r.hello.Token)
		}
		r.end(wtproto.CodeTokenExpired)
		wantError(t, "Disconnected", nextIs[Disconnected](d).Err, wtproto.CodeTokenExpired, true)
		nextIs[Reconnecting](d)
		r = g.accept()
		if string(r.hello.Token) != "token 2" {
			t.Errorf("the second session shows %q", r.hello.Token)
		}
		r.send(welcome)
		nextIs[Connected](d)
		r.end(wtproto.CodeUnauthorized)
		nextIs[Disconnected](d)
		nextIs[Reconnecting](d)
		g.accept().end(wtproto.CodeUnauthorized)
		d.over()
		wait(t, "Done", c.Done())
		wantError(t, "Err", c.Err(), wtproto.CodeUnauthorized, true)
		if n := s.asked.Load(); n != 3 {
			t.Errorf("%d tokens were fetched, want 3", n)
		}
	})
}

// A fresh token that is refused ends Dial at once.
func TestTokenSourceRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		cfg := g.config()
		var s tokens
		s.with(n)(&cfg)
		result := g.dial(cfg)
		g.accept().end(wtproto.CodeUnauthorized)
		wantError(t, "Dial", (<-result).err, wtproto.CodeUnauthorized, true)
	})
}

// An error of the source fails its attempt, and the next one comes after a delay that grows; a
// permanent code is the end. A source that does not return has as long as the rest of an attempt.
func TestTokenSourceFails(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		answers := make(chan error, 1)
		var s tokens
		c, r := g.session(func(c *Config) {
			n.on()(c)
			c.TokenSource = func(ctx context.Context) ([]byte, error) {
				select {
				case err := <-answers:
					if err != nil {
						return nil, err
					}
					return s.next(ctx)
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
			answers <- nil
		})
		d := read(t, c)
		nextIs[Connected](d)
		r.end(wtproto.CodeBusy)
		nextIs[Disconnected](d)
		offline := errors.New("the login server is down")
		answers <- offline
		nextIs[Reconnecting](d)
		e := nextIs[Reconnecting](d)
		if !errors.Is(e.Err, offline) || e.Attempt != 2 || e.Delay < 500*time.Millisecond || e.Delay > time.Second {
			t.Errorf("after an error: %+v, want attempt 2 after 500 ms to 1 s", e)
		}
		start := time.Now()
		again := nextIs[Reconnecting](d)
		wantError(t, "a source that hangs", again.Err, wtproto.CodePeerUnreachable, false)
		elapsed(t, "giving up", start, e.Delay+10*time.Second)
		answers <- wtproto.Errorf(wtproto.CodeUnauthorized, "logged out")
		d.over()
		wait(t, "Done", c.Done())
		wantError(t, "Err", c.Err(), wtproto.CodeUnauthorized, false)
		g.alone()
	})
}

// A token that is too long is the program's mistake, which another attempt would repeat.
func TestTokenSourceTooLong(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := newGateway(t, n.gateway)
		cfg := g.config()
		n.on()(&cfg)
		cfg.TokenSource = func(context.Context) ([]byte, error) { return make([]byte, wtproto.MaxToken+1), nil }
		wantError(t, "Dial", (<-g.dial(cfg)).err, wtproto.CodeTooLarge, false)
		g.alone()
	})
}
