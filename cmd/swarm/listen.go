package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// streamPatience is how long a local connection waits for a stream with a peer.
	streamPatience = 15 * time.Second
	// maxLocal is how many local connections are served at once. Others wait to be accepted. A
	// gateway has 224 streams of two peers and 256 of a session by default.
	maxLocal = 224
	// maxUnused is how much of a circuit that the gateway made is read and thrown away.
	maxUnused = 64 << 10
)

// listenCmd is swarm listen.
type listenCmd struct {
	Topic   topicArg      `arg:"" predictor:"word" help:"The topic."`
	Address listenAddress `arg:"" predictor:"word" help:"HOST:PORT to listen on; port 0 takes a free one."`
	gatewayFlags
	Peer peerPattern `placeholder:"ID" help:"The peer to use: its id, or how it begins. Without it, one that takes streams."`
}

// Help is printed below the options.
func (listenCmd) Help() string {
	return "Each connection to the address becomes a stream to a peer that runs swarm forward (or swarm peer --forward) on the " +
		"topic. All go to the same peer as long as it takes them, then to another one." +
		examples(
			"swarm listen wowcool 127.0.0.1:2222",
			"swarm listen swarmgate://gateway.example:4433/#wowcool 127.0.0.1:0 --peer 12D3KooWQTFKYi",
		)
}

// listenAddress is an address to listen on.
type listenAddress string

// UnmarshalText reads HOST:PORT.
func (a *listenAddress) UnmarshalText(b []byte) error {
	if host, port, err := net.SplitHostPort(string(b)); err == nil && port == "0" && host != "" {
		*a = listenAddress(b)
		return nil
	}
	return (*hostPort)(a).UnmarshalText(b)
}

// peerPattern says which peers are meant, by the beginning of their id. Empty means all.
type peerPattern string

// minPattern is how many digits of an id must be given, so that few peers are meant by chance.
const minPattern = 6

// UnmarshalText reads hexadecimal digits, or the id of a libp2p host.
func (m *peerPattern) UnmarshalText(b []byte) error {
	if len(b) < minPattern {
		return fmt.Errorf("%q: want at least %d characters of an id", b, minPattern)
	}
	*m = peerPattern(b)
	return nil
}

// is reports whether p is meant.
func (m peerPattern) is(p client.Peer) bool {
	return strings.HasPrefix(hex.EncodeToString(p.ID), strings.ToLower(string(m))) || strings.HasPrefix(hostID(p.ID), string(m))
}

// Validate finds the gateway.
func (c *listenCmd) Validate() error { return c.need(c.Topic) }

// Run listens, and joins the topic.
func (c *listenCmd) Run(p *program) error {
	local, err := net.Listen("tcp", string(c.Address))
	if err != nil {
		return err
	}
	defer local.Close()
	opts := client.JoinOptions{LookUpOnly: true}
	if c.Peer != "" {
		opts.Filter = c.Peer.is
	}
	return c.attend(p, c.Topic, opts, func(ctx context.Context, _ context.CancelCauseFunc, t *client.Topic) error {
		p.events.listening(local.Addr().String())
		l := &listener{
			events: p.events, topic: t, crowd: &crowd{events: p.events},
			places: make(chan struct{}, maxLocal), met: make(chan struct{}),
		}
		return l.run(ctx, local.(*net.TCPListener))
	})
}

// listener connects local TCP connections with peers of a topic.
type listener struct {
	events *events
	topic  *client.Topic
	crowd  *crowd
	places chan struct{}  // holds one for each local connection
	wg     sync.WaitGroup // of circuits and local connections

	mu    sync.Mutex
	peers candidates    // guarded by mu
	met   chan struct{} // guarded by mu; closed when a peer is met, and replaced
}

// run accepts local connections until ctx or the topic ends, and closes local.
func (l *listener) run(ctx context.Context, local *net.TCPListener) error {
	defer l.wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	l.wg.Go(func() { cancel(l.meet(ctx)) })
	defer context.AfterFunc(ctx, func() { local.Close() })()
	for {
		select {
		case l.places <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		conn, err := local.AcceptTCP()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			cancel(err)
			return err
		}
		l.wg.Go(func() {
			defer func() { <-l.places }()
			l.serve(ctx, conn)
		})
	}
}

// meet takes the circuits that the gateway makes. They tell who is there and are not used: somebody
// at the other end may have been waiting on one for so long that it ends with the first byte.
func (l *listener) meet(ctx context.Context) error {
	for conn, err := range l.topic.Conns(ctx) {
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.peers.add(conn.Peer())
		close(l.met)
		l.met = make(chan struct{})
		l.mu.Unlock()
		l.events.found(peerOf(conn))
		l.wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			buf := make([]byte, 512)
			for n := 0; n < maxUnused; {
				k, err := conn.Read(buf)
				if n += k; err != nil {
					return
				}
			}
			<-ctx.Done()
		})
	}
	return l.topic.Err()
}

// serve connects a local connection with a peer.
func (l *listener) serve(ctx context.Context, conn *net.TCPConn) {
	from := conn.RemoteAddr().String()
	local, err := discovery.TCPStream(conn)
	if err != nil {
		l.events.refused(from, err)
		return
	}
	c, err := l.open(ctx)
	if err != nil {
		local.Reset(codeOf(err))
		if ctx.Err() == nil {
			l.events.refused(from, err)
		}
		return
	}
	l.crowd.serveWith(ctx, c, peerOf(c), func(context.Context, int, circuit) (traffic, error) { return relay(c, local) })
}

// errNobody says that no peer was met.
var errNobody = errors.New("no peer is on the topic: is swarm forward running there, with the same topic?")

// open opens a stream with one of the peers.
func (l *listener) open(ctx context.Context) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	retry := backoff.New(50*time.Millisecond, 2*time.Second)
	failed := errNobody
	for {
		l.mu.Lock()
		peers, met := l.peers.order(), l.met
		l.mu.Unlock()
		final := len(peers) > 0
		for _, p := range peers {
			c, err := l.topic.Open(ctx, p)
			if err == nil {
				l.note(p, true)
				return c, nil
			}
			if ctx.Err() != nil {
				break
			}
			failed = err
			var isPeers, isFinal bool
			if isPeers, isFinal = verdict(codeOf(err)); isPeers {
				l.note(p, false)
			}
			final = final && isFinal
		}
		if final {
			return nil, failed
		}
		var again <-chan time.Time
		if len(peers) > 0 {
			again = time.After(retry.Next())
		}
		select {
		case <-met:
		case <-again:
		case <-ctx.Done():
			return nil, failed
		}
	}
}

// verdict says of the code with which a stream was refused whether it is the peer's, so that
// another one may do better, and whether it is final, so that asking again is in vain.
func verdict(code wtproto.Code) (isPeers, isFinal bool) {
	switch code {
	case wtproto.CodeDeclined, wtproto.CodeForbidden:
		return true, true
	case wtproto.CodeCircuitLimit, wtproto.CodeRateLimited, wtproto.CodeBusy, wtproto.CodeShutdown:
		return false, false
	default:
		return true, false
	}
}

// note notes whether p gave a stream.
func (l *listener) note(p client.Peer, gave bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if gave {
		l.peers.succeed(p)
	} else {
		l.peers.fail(p)
	}
}
