package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Client is connected to a gateway, and connects again when that was lost. [Dial] makes one, and
// the caller closes it. Any number of goroutines may use it.
type Client struct {
	// constant after newClient
	cfg          Config
	gateways     []*gateway              // the elements are guarded by mu
	ctx          context.Context         // ends with the client; its cause is that of all sessions that are left
	cancel       context.CancelCauseFunc // after err was set
	kick         chan struct{}           // takes one; there may be another deadline
	firstWelcome chan struct{}           // closed by the first WELCOME
	done         chan struct{}           // closed by run
	wg           sync.WaitGroup          // of attempts and their sessions; nobody is added once err is set

	mu       sync.Mutex
	machine  machine                  // guarded by mu
	history  history                  // guarded by mu
	attempts map[int]*attempt         // guarded by mu; by gateway, those without WELCOME
	session  *session                 // guarded by mu; nil while there is none
	info     Session                  // guarded by mu; of session, or of the one before
	going    bool                     // guarded by mu; session's gateway goes away
	leaves   bool                     // guarded by mu; Shutdown was called: no topic is joined any more
	sessions map[*session]struct{}    // guarded by mu; session, and those before it that have circuits still
	topics   map[wtproto.Topic]*Topic // guarded by mu; those that are wanted, or that the gateway may know
	rejoinAt time.Time                // guarded by mu; when to repeat JOINs that were refused for a while; zero for never
	rejoined time.Time                // guarded by mu; when they were repeated last, in this session
	rejoins  backoff.Backoff          // guarded by mu; the delays before rejoinAt
	err      error                    // guarded by mu; why the client ends
}

// errEnded is the cause of sessions that this side ended, unless it was Close.
var errEnded = errors.New("the client does not need the session any more")

// Dial opens a session with a gateway. Its address is one of
//
//	gateway.example:4433                        whose certificate an authority has signed,
//	https://gateway.example:4433                the same,
//	swarmgate://gateway.example:4433/?h=HASH    whose certificate has the hash (a topic is ignored),
//	http://127.0.0.1:8080                       on this machine: its info document is read,
//	                                            and again after a failure.
//
// Without a port it is 443. A gateway that is started without a certificate makes its own, and
// prints such a string with its hash; [Discover] finds it by the URL of an info document. With
// [Config.CertHashes] the hashes of an http:// gateway's document do not count.
//
// Dial tries all IP addresses of the host, each 250 ms after the one before, and each of
// [Config.Gateways] 500 ms after the one before, and returns after the first gateway's greeting.
// ctx does not matter after that.
//
// The chain of an error holds an [*wtproto.Error] where a gateway refused the session (Remote,
// with a code such as CodeUnauthorized) or did not answer (CodePeerUnreachable), and the error of
// package x509 where its certificate is not trusted. A refusal that will not change comes first.
func Dial(ctx context.Context, gateway string, cfg Config) (*Client, error) {
	c, err := dial(ctx, gateway, cfg)
	if err != nil {
		return nil, fmt.Errorf("client: dial: %w", err)
	}
	return c, nil
}

func dial(ctx context.Context, gateway string, cfg Config) (*Client, error) {
	addresses, documents, err := discoverAll(ctx, append([]string{gateway}, cfg.Gateways...), len(cfg.CertHashes) > 0)
	if err != nil {
		return nil, err
	}
	cfg.Gateways = addresses[1:]
	c, err := newClient(addresses[0], cfg)
	if err != nil {
		return nil, err
	}
	for _, g := range c.gateways {
		d := documents[net.JoinHostPort(g.host, g.port)]
		g.document, g.websocket = d.url, cmp.Or(d.websocket, g.websocket)
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// newClient returns a client that does nothing yet.
func newClient(address string, cfg Config) (*Client, error) {
	gateways, err := parseGateways(append([]string{address}, cfg.Gateways...), cfg.CertHashes)
	if err := errors.Join(err, cfg.validate()); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	c := &Client{
		cfg:          cfg.withDefaults(),
		gateways:     gateways,
		kick:         make(chan struct{}, 1),
		firstWelcome: make(chan struct{}),
		done:         make(chan struct{}),
		history:      history{more: make(chan struct{})},
		attempts:     make(map[int]*attempt),
		sessions:     make(map[*session]struct{}),
		topics:       make(map[wtproto.Topic]*Topic),
		rejoins:      backoff.New(leastDelay, mostDelay),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	var names []string
	for _, g := range gateways {
		names = append(names, g.name)
	}
	c.machine = newMachine(c.cfg.DialTimeout, c.cfg.NoReconnect, names...)
	c.machine.renews = c.cfg.TokenSource != nil
	return c, nil
}

// start runs c, and returns after the first greeting. c has ended after an error.
func (c *Client) start(ctx context.Context) error {
	go c.run()
	select {
	case <-c.firstWelcome:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		c.Close()
		return context.Cause(ctx)
	}
}

// run does what is due until the client ends, and ends everything after it.
func (c *Client) run() {
	c.mu.Lock()
	c.machine.start(time.Now())
	c.applyLocked()
	c.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for c.ctx.Err() == nil {
		select {
		case <-timer.C:
		case <-c.kick:
		case <-c.ctx.Done():
		}
		if next := c.tick(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
	c.wg.Wait()
	c.mu.Lock()
	for _, t := range c.topics {
		t.endLocked(c.err)
		t.queue = nil // they ended with their sessions
		close(t.left)
	}
	clear(c.topics)
	c.mu.Unlock()
	close(c.done)
}

// tick does what is due, and returns when there is more to do, or zero.
func (c *Client) tick() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return time.Time{}
	}
	now := time.Now()
	c.machine.tick(now)
	if !c.rejoinAt.IsZero() && !now.Before(c.rejoinAt) {
		c.rejoinLocked()
	}
	c.applyLocked()
	next := c.machine.deadline()
	if !c.rejoinAt.IsZero() && (next.IsZero() || c.rejoinAt.Before(next)) {
		next = c.rejoinAt
	}
	return next
}

// applyLocked does what the machine has decided.
func (c *Client) applyLocked() {
	if c.err != nil {
		return
	}
	for g := range c.gateways {
		a, trying := c.attempts[g], c.machine.gateways[g].trying
		switch {
		case trying && a == nil:
			a = newAttempt(c.ctx, g)
			c.attempts[g] = a
			c.wg.Go(func() { c.try(a) })
		case !trying && a != nil:
			delete(c.attempts, g)
			a.cancel(errEnded)
		}
	}
	for _, e := range c.machine.events {
		logEvent(c.cfg.Logger, e)
		c.history.add(e)
	}
	c.machine.events = nil
	if err := c.machine.err; err != nil {
		c.cfg.Logger.Info("the client does not connect again", "error", err)
		c.endLocked(err, errEnded)
	}
}

// wakeUp tells run that there may be another deadline.
func (c *Client) wakeUp() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// endLocked ends the client with err, and its sessions with cause. The first call counts.
func (c *Client) endLocked(err, cause error) {
	if c.err == nil {
		c.err = err
		c.cancel(cause)
	}
}

// Shutdown ends the client so that peers get all that was written, and see a regular end, no error.
// It leaves all topics, closes all circuits as [Conn.Close] does, also those that nobody has
// accepted, waits until the peers have ended them too and the gateway says that they have all, and
// then does what Close does (PROTOCOL.md, section 9, "Finishing"). A Write in progress is the end
// of its circuit, so end those first, for example with [net/http.Server.Shutdown].
//
// Peers that have not ended a circuit after 30 s are not waited for, and those that read slowly a
// minute longer. If ctx ends first, the rest is lost, and the error is ctx's cause. Else it is nil.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.leaves = true
	c.machine.stop() // no other gateway is needed
	c.applyLocked()
	for _, t := range c.topics {
		t.leaveLocked()
	}
	sessions := slices.Collect(maps.Keys(c.sessions))
	c.mu.Unlock()
	drained := make(chan error, len(sessions))
	for _, s := range sessions {
		s.closeCircuits()
		go func() { drained <- s.drain(ctx) }()
	}
	var err error
	for range sessions {
		err = cmp.Or(err, <-drained)
	}
	c.Close()
	return err
}

// Close ends the session, its topics and its circuits at once, and waits until all is over. What
// peers have not been sent is lost, and they see CodePeerGone: [Client.Shutdown] lets them have
// all. It may be called more than once. The error is always nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.endLocked(net.ErrClosed, net.ErrClosed)
	c.mu.Unlock()
	<-c.done
	return nil
}

// Done returns a channel that is closed when the client has ended: after Close, or after a
// permanent error. With [Config.NoReconnect] that is the end of its session, whatever it was.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil before Done is closed; then net.ErrClosed after Close, else an error whose chain
// holds an [*wtproto.Error]: with Remote and the gateway's code where a gateway ended or refused
// the session (CodeUnauthorized, CodeTokenExpired, CodeForbidden, CodeVersion, CodeReplaced), and
// CodeProtocol, CodeTooLarge or CodeVersion where what it sent could not be understood.
//
// With [Config.NoReconnect] any code of the gateway may be there, CodeIdle where it fell silent,
// and CodePeerGone where the connection was lost.
func (c *Client) Err() error {
	if !closed(c.done) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Endpoint returns the endpoint id by which others know the client, in all its sessions: it is made
// from [Config.Secret]. The id of a [Peer] that is this client ends with it.
func (c *Client) Endpoint() wtproto.EndpointID { return c.cfg.Secret.Endpoint() }

// Session returns what the gateway said when the session began, or the one before while there is
// none.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	info := c.info
	info.CertHashes = slices.Clone(info.CertHashes)
	return info
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
