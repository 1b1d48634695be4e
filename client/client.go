package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Client is a session with a gateway. [Dial] makes one, and the caller closes it. Any number of goroutines may use it.
type Client struct {
	// constant after Dial
	cfg       Config
	transport *quic.Transport // closed by run, with its socket
	session   *session
	done      chan struct{} // closed by run

	mu     sync.Mutex
	topics map[wtproto.Topic]*Topic // guarded by mu; those of which the gateway may know
	goaway wtproto.Goaway           // guarded by mu
	going  chan struct{}            // closed, with mu, by the first GOAWAY
	err    error                    // guarded by mu
}

// Dial opens a session with the gateway at an address such as "https://gateway.example:4433" or "gateway.example:4433"; without a
// port it is 443. It tries all addresses of the host, each 250 ms after the one before, and returns after the gateway's
// greeting. ctx does not matter after that.
//
// The chain of an error holds an [*wtproto.Error] where the gateway refused the session (Remote, with a code such as
// CodeUnauthorized) or did not answer (CodePeerUnreachable), and the error of package x509 where its certificate is not trusted.
func Dial(ctx context.Context, gateway string, cfg Config) (*Client, error) {
	c, err := dial(ctx, gateway, cfg)
	if err != nil {
		return nil, fmt.Errorf("client: dial %s: %w", gateway, err)
	}
	return c, nil
}

func dial(ctx context.Context, gateway string, cfg Config) (_ *Client, err error) {
	socket := cfg.Socket
	defer func() {
		if err != nil && socket != nil {
			socket.Close()
		}
	}()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	host, port, err := parseGateway(gateway)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:    cfg.withDefaults(),
		topics: make(map[wtproto.Topic]*Topic),
		done:   make(chan struct{}),
		going:  make(chan struct{}),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.DialTimeout, &wtproto.Error{
		Code:   wtproto.CodePeerUnreachable,
		Reason: fmt.Sprintf("no answer in %v", c.cfg.DialTimeout),
		Err:    context.DeadlineExceeded,
	})
	defer cancel()
	to, err := resolve(ctx, host, port)
	if err != nil {
		return nil, err
	}
	if socket == nil {
		u, err := udp.Listen("udp", ":0")
		if err != nil {
			return nil, err
		}
		socket = u
	}
	c.transport = &quic.Transport{Conn: socket}
	conn, err := dialQUIC(ctx, c.transport, to, tlsConfig(&c.cfg, host), quicConfig(&c.cfg))
	if err != nil {
		c.transport.Close()
		return nil, err
	}
	if c.session, err = newSession(c, conn); err != nil {
		conn.CloseWithError(0, "")
		c.transport.Close()
		return nil, err
	}
	go c.run()
	select {
	case <-c.session.welcomed:
		return c, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		c.Close()
		return nil, context.Cause(ctx)
	}
}

// run serves the session, and ends everything after it.
func (c *Client) run() {
	err := c.session.run()
	c.transport.Close()
	c.transport.Conn.Close()
	c.mu.Lock()
	c.err = err
	for _, t := range c.topics {
		t.endLocked(err)
		t.queue = nil // they ended with the session
		close(t.left)
	}
	clear(c.topics)
	c.mu.Unlock()
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		c.session.log.Info("session lost", "code", e.Code, "remote", e.Remote, "reason", e.Reason)
	}
	close(c.done)
}

// Close ends the session, its topics and its circuits at once, and waits until all is over. What peers have not been
// sent is lost: for them to have all, [Conn.CloseWrite], then Read until io.EOF. It may be called more than once. The
// error is always nil.
func (c *Client) Close() error {
	c.session.cancel(net.ErrClosed)
	<-c.done
	return nil
}

// Done returns a channel that is closed when the session has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil before Done is closed; then net.ErrClosed after Close, else an [*wtproto.Error]: with Remote and the gateway's
// code where the gateway ended the session, CodeIdle where it fell silent, CodePeerGone where the connection was lost, and
// CodeProtocol, CodeTooLarge or CodeVersion where what it sent could not be understood.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Welcome returns the gateway's greeting: the session's id, its limits, the gateway's agent and certificate hashes. It is
// not to be changed.
func (c *Client) Welcome() wtproto.Welcome { return c.session.welcome }

// Goaway returns what the gateway said last about its going away, and a channel that is closed once it has. From then on
// [Client.Join] fails and there are no new circuits; those that are open go on until the gateway ends the session.
func (c *Client) Goaway() (wtproto.Goaway, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway, c.going
}

// Join joins a topic, and returns when the gateway has taken it. A topic that is joined already is returned again, with its options
// changed to opts. If ctx ends first, the topic is left.
//
// The chain of an error holds an [*wtproto.Error] with Remote and the gateway's code where it refused (CodeForbidden,
// CodeTopicLimit, CodeShutdown after GOAWAY), or the session's error.
func (c *Client) Join(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	t, err := c.join(ctx, topic, opts)
	if err != nil {
		return nil, fmt.Errorf("client: join: %w", err)
	}
	return t, nil
}

func (c *Client) join(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	t, err := c.startJoin(ctx, topic, opts)
	if err != nil {
		return nil, err
	}
	var cause error
	select {
	case <-t.joined:
	case <-t.done:
		cause = t.Err()
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	var early []*Conn
	c.mu.Lock()
	t.joiners--
	switch {
	case t.err == nil && closed(t.joined):
		cause = nil // ctx ended too late
	case t.joiners == 0:
		early = t.leaveLocked()
	}
	c.mu.Unlock()
	resetAll(early, wtproto.CodeLeft)
	return t, cause
}

// startJoin sends JOIN once the gateway has answered a LEAVE that came before, and counts the caller among t.joiners.
func (c *Client) startJoin(ctx context.Context, topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	for {
		c.mu.Lock()
		t, err := c.startJoinLocked(topic, opts)
		c.mu.Unlock()
		if err != nil || !closed(t.done) {
			return t, err
		}
		select {
		case <-t.left:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// startJoinLocked returns a topic that has ended if its LEFT is awaited, and then did nothing.
func (c *Client) startJoinLocked(topic wtproto.Topic, opts JoinOptions) (*Topic, error) {
	t := c.topics[topic]
	switch {
	case c.err != nil:
		return nil, c.err
	case closed(c.going):
		return nil, &wtproto.Error{Code: wtproto.CodeShutdown, Remote: true, Reason: "the gateway is going away"}
	case t != nil && closed(t.done):
		return t, nil
	case !c.session.send(opts.frame(topic)):
		return nil, wtproto.Errorf(wtproto.CodeBusy, "the gateway does not read its control stream")
	case t == nil:
		t = newTopic(c, topic)
		c.topics[topic] = t
	}
	t.filter = opts.Filter
	t.joiners++
	t.unanswered++
	return t, nil
}

// joinedTopic returns the topic that JOIN was sent for and LEAVE was not, or nil, and its filter.
func (c *Client) joinedTopic(topic wtproto.Topic) (*Topic, func(Peer) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[topic]
	if t == nil || t.err != nil {
		return nil, nil
	}
	return t, t.filter
}

// joined takes JOINED. Where the topic has ended meanwhile, a LEAVE follows the JOIN.
func (c *Client) joined(m wtproto.Joined) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[m.Topic]
	if t == nil {
		return
	}
	t.held = true
	t.unanswered = max(0, t.unanswered-1)
	switch {
	case t.err != nil:
		t.sendLeaveLocked()
	case !closed(t.joined):
		close(t.joined)
	}
}

// left takes LEFT: after LEAVE, instead of JOINED, or when the gateway wants no more. It is the last word on the topic unless a JOIN
// was under way, that the gateway takes for a new one.
func (c *Client) left(m wtproto.Left) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[m.Topic]
	if t == nil {
		return
	}
	if t.err == nil {
		c.session.log.Info("topic refused or taken away", "topic", m.Topic, "code", m.Code, "reason", m.Reason)
		t.endLocked(&wtproto.Error{Code: m.Code, Remote: true, Reason: m.Reason})
	}
	if !t.held {
		t.unanswered-- // it is the answer to a JOIN
	}
	t.held = false
	if t.unanswered <= 0 {
		delete(c.topics, m.Topic)
		close(t.left)
	}
}

// status takes STATUS.
func (c *Client) status(m wtproto.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.topics[m.Topic]; t != nil {
		t.status = m
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// goAway takes GOAWAY.
func (c *Client) goAway(m wtproto.Goaway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goaway = m
	c.session.log.Info("the gateway is going away", "code", m.Code, "reason", m.Reason, "retry", m.RetryAfter)
	if !closed(c.going) {
		close(c.going)
	}
}

// closed reports whether a channel that is only ever closed is.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
