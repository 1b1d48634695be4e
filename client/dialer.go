package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// dialPatience is how long DialContext waits for somebody who takes streams.
	dialPatience = 30 * time.Second
	// declinedPatience is how long it waits for somebody else if all peers decline.
	declinedPatience = 2 * time.Second
	// maxUnused is how many bytes of a first circuit are read and thrown away.
	maxUnused = 64 << 10
)

// DialContext opens a stream with whoever on the topic takes streams. It fits where a program
// wants a dialer, such as DialContext of [net/http.Transport]:
//
//	browser := &http.Client{Transport: &http.Transport{DialContext: topic.DialContext}}
//	resp, err := browser.Get("http://shop/") // the host is ignored
//
// network and address are ignored. The result is a [*Conn]. The peer that came last is asked first,
// so all go to one as long as that one takes them and nobody else comes; those that have failed are
// asked after all others. If there is nobody yet, or nobody gives a stream, DialContext waits, and
// asks again with growing delays, until ctx ends or 30 s have passed; if all that are there
// decline, it gives up after 2 s. [Topic.Open] says which limits there are, and what is in the
// chain of an error; it is a CodePeerUnreachable if no peer was there, and holds ctx's cause if
// ctx has ended.
//
// Nobody has to accept the first circuit with each peer. Unless the program has called
// [Topic.Accept], [Topic.Conns] or [Topic.Listen] before, DialContext has first circuits read and
// thrown away from now on, as long as it does not.
func (t *Topic) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: dial: %w", err)
	}
	return c, nil
}

var (
	errNobody  = wtproto.Errorf(wtproto.CodePeerUnreachable, "no peer was found on the topic")
	errTooLong = fmt.Errorf("no stream within %v", dialPatience)
)

// dial opens a stream with one of the candidates.
func (t *Topic) dial(ctx context.Context) (*Conn, error) {
	t.discard()
	ctx, cancel := context.WithTimeoutCause(ctx, dialPatience, errTooLong)
	defer cancel()
	begun := time.Now()
	retry := backoff.New(50*time.Millisecond, 2*time.Second)
	var failed error = errNobody
	for {
		t.client.mu.Lock()
		peers, more, ended := t.candidates.order(), t.newCandidate, t.err
		t.client.mu.Unlock()
		if ended != nil {
			return nil, ended
		}
		final := len(peers) > 0
		for _, p := range peers {
			c, err := t.open(ctx, p)
			if err == nil {
				t.note(p, true)
				return c, nil
			}
			if ctx.Err() != nil {
				break
			}
			failed = err
			isPeers, isFinal := verdict(err)
			if isPeers {
				t.note(p, false)
			}
			final = final && isFinal
		}
		if final && time.Since(begun) >= declinedPatience {
			return nil, failed
		}
		var again <-chan time.Time
		if len(peers) > 0 {
			again = time.After(retry.Next())
		}
		select {
		case <-more:
		case <-again:
		case <-t.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), failed)
		}
	}
}

// verdict says of the error of Open whether it is the peer's, so that another one may do better,
// and whether it is final, so that asking again is in vain.
func verdict(err error) (isPeers, isFinal bool) {
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok {
		return false, false
	}
	switch e.Code {
	case wtproto.CodeDeclined, wtproto.CodeForbidden:
		return true, true
	case wtproto.CodeCircuitLimit, wtproto.CodeRateLimited, wtproto.CodeBusy, wtproto.CodeShutdown:
		return false, false
	default:
		return e.Remote, false
	}
}

// note notes whether p gave a stream.
func (t *Topic) note(p Peer, gave bool) {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	if gave {
		t.candidates.succeed(p)
	} else {
		t.candidates.fail(p)
	}
}

// discard has first circuits thrown away from now on, those that wait too, unless somebody
// accepts.
func (t *Topic) discard() {
	t.client.mu.Lock()
	defer t.client.mu.Unlock()
	t.discards = true
	if t.accepts {
		return
	}
	t.queue = slices.DeleteFunc(t.queue, func(c *Conn) bool {
		if !c.peer.Further {
			c.session.spawn(c.discard)
		}
		return !c.peer.Further
	})
}

// discard throws away what comes on c, up to a limit, and ends c when its peer does. It stays open
// until then, so that its end tells when the peer has gone.
func (c *Conn) discard() {
	buf := make([]byte, 512)
	for n := 0; n < maxUnused; {
		k, err := c.Read(buf)
		if n += k; err != nil {
			c.Close()
			return
		}
	}
}
