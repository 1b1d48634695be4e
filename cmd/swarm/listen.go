package main

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// openTimeout is how long a local connection waits for a stream with a peer.
	openTimeout = 15 * time.Second
	// maxLocal is how many local connections are served at once. Others wait to be accepted. A
	// gateway has 224 streams of two peers and 256 of a session by default.
	maxLocal = 224
)

// listenCmd is swarm listen.
type listenCmd struct {
	Topic   topicArg      `arg:"" predictor:"word" help:"The topic. It is left out with --new and --secret."`
	Address listenAddress `arg:"" optional:"" predictor:"word" help:"HOST:PORT to listen on; port 0 takes a free one."`
	roomFlags
	gatewayFlags
	Peer peerPattern `placeholder:"ID" help:"The peer to use: its id, or how it begins. Without it, one that takes streams."`
}

// Help is printed below the options.
func (listenCmd) Help() string {
	return "Each connection to the address becomes a stream to a peer that runs swarm forward (or swarm peer --forward) on the " +
		"topic. All go to the same peer as long as it takes them, then to another one." +
		examples(
			"swarm listen wowcool 127.0.0.1:2222",
			"swarm listen --secret-file room.txt 127.0.0.1:2222",
			"swarm listen swarmgate://gateway.example:4433/#wowcool 127.0.0.1:0 --peer 12D3KooWQTFKYi",
		)
}

// Validate finds the topic and the gateway.
func (c *listenCmd) Validate() error {
	if err := c.choose(&c.Topic, &c.Address, c.Address != ""); err != nil {
		return err
	}
	if err := c.identify(&c.Topic); err != nil {
		return err
	}
	return c.requireGateway(c.Topic)
}

// Run listens, and joins the topic.
func (c *listenCmd) Run(p *program) error {
	p.events.lasting = true
	local, err := net.Listen("tcp", string(c.Address))
	if err != nil {
		return err
	}
	defer local.Close()
	opts := client.JoinOptions{LookUpOnly: true}
	if c.Peer != "" {
		opts.Filter = c.Peer.is
	}
	return c.joinTopic(p, c.Topic, opts, func(ctx context.Context, _ context.CancelCauseFunc, m *meeting) error {
		p.events.listening(local.Addr().String())
		l := &listener{
			events: p.events, meeting: m, topic: m.topic, dispatcher: &dispatcher{events: p.events},
			places: make(chan struct{}, maxLocal),
		}
		return l.run(ctx, local.(*net.TCPListener))
	})
}

// listener connects local TCP connections with peers of a topic.
type listener struct {
	events     *events
	meeting    *meeting
	topic      *client.Topic // the meeting's
	dispatcher *dispatcher
	places     chan struct{}  // holds one for each local connection
	wg         sync.WaitGroup // of circuits and local connections

	warnAlone sync.Once // to say that there is no peer yet
}

// run accepts local connections until ctx or the topic ends, and closes local.
func (l *listener) run(ctx context.Context, local *net.TCPListener) error {
	defer l.wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	l.wg.Go(func() {
		l.reportPeers(ctx)
		cancel(l.topic.Err())
	})
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

// reportPeers tells who comes and leaves, until ctx or the topic ends.
func (l *listener) reportPeers(ctx context.Context) {
	for e := range l.topic.Events(ctx) {
		switch e := e.(type) {
		case client.PeerJoined:
			l.events.found(infoOfPeer(e.Peer))
		case client.PeerLeft:
			l.events.gone(infoOfPeer(e.Peer))
		}
	}
}

// serve connects a local connection with a peer.
func (l *listener) serve(ctx context.Context, conn *net.TCPConn) {
	from := conn.RemoteAddr().String()
	local, err := discovery.TCPStream(conn)
	if err != nil {
		l.events.refused(from, err)
		return
	}
	if len(l.topic.Peers()) == 0 {
		l.warnAlone.Do(l.events.waiting)
	}
	c, err := l.open(ctx)
	if err != nil {
		local.Reset(codeOf(err))
		if ctx.Err() == nil {
			l.events.refused(from, err)
		}
		return
	}
	l.dispatcher.serveWith(ctx, c, infoOf(c), func(context.Context, int, circuit) (traffic, error) { return relay(c, local) })
}

// errNoPeer says that no peer was found in time.
var errNoPeer = wtproto.Errorf(wtproto.CodePeerUnreachable,
	"no peer is on the topic: is swarm forward running there, with the same topic?")

// open opens a stream with one of the peers.
func (l *listener) open(ctx context.Context) (memberConn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	c, err := l.meeting.dial(ctx)
	switch {
	case err == nil:
		return c, nil
	case codeOf(err) == wtproto.CodePeerUnreachable && len(l.topic.Peers()) == 0:
		return nil, errNoPeer
	}
	return nil, err
}
