//go:build !race

package soak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Groups of TCP services, each of which is on a topic of its own.
const (
	groups   = 4
	services = 3 // of each group
)

// Topics of other services.
const (
	topicAlone     = "alone" // one service
	topicResidents = "residents"
)

// How many sessions stay for a whole round, and how many services each of them talks with.
const (
	residents        = 100
	residentServices = 20
)

// generator makes sessions, peers, tokens and certificates come and go.
type generator struct {
	t       *testing.T
	plan    plan
	program *program.Program
	ends    ends
	tally   *tally
	tokens  *tokens
	certs   *authority
	next    atomic.Int64 // number of an act
	done    sync.Map     // by kind of act: *atomic.Int64
	bytes   atomic.Int64 // both ways
	hosts   atomic.Int64 // libp2p hosts that have come and gone
	leaving sync.WaitGroup
	strays  int64 // that have been counted
}

// newGenerator starts a gateway and the services.
func newGenerator(t *testing.T, p plan) *generator {
	t.Helper()
	g := &generator{t: t, plan: p, tally: newTally()}
	g.ends.failed = t.Errorf
	args := []string{
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		"--dht", "private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private",
		"--memory", "1GiB", "--max-sessions-per-principal", "-1", "--handshakes-per-address", "-1",
		"--new-circuits", "-1", "--new-topics", "-1", "--max-topics-per-principal", "-1", "--max-circuits-per-principal", "-1",
	}
	listen := func(topic string, n int) {
		for range n {
			l := gateway.Listen(t, func(c *net.TCPConn) { g.ends.follow(service{c}) })
			args = append(args, "--static", topic+"=tcp://"+l.Addr().String())
		}
	}
	for i := range groups {
		listen(groupTopic(i), services)
	}
	listen(topicAlone, 1)
	listen(topicResidents, residentServices)
	g.tokens = newTokens(t, p.authorizer() == "file of keys", t.TempDir())
	g.certs = newAuthority(t, t.TempDir())
	args = append(append(args, g.tokens.files()...), g.certs.files()...)
	g.program = program.Start(t, args...)
	g.tally.set(float64(g.certs.expiry.Unix()), "certificate_expiry_timestamp_seconds")
	g.tally.set(float64(g.certs.began.Unix()), "certificate_not_before_timestamp_seconds")
	g.tally.set(1, "ready")
	g.tally.set(1, "dht_serving") // nobody has to reach it first: it has no seeds
	g.tally.set(0, "dht_seeds_missing")
	// Three quarters and seven eighths of four fifths.
	g.tally.set(644245092, "memory_full_bytes")
	g.tally.set(751619274, "memory_over_bytes")
	return g
}

func groupTopic(i int) string { return fmt.Sprintf("group-%d", i) }

// session is one in Go.
type session struct {
	*client.Client
	transport string
}

// config returns how clients connect.
func (g *generator) config(transport, token string) client.Config {
	return client.Config{
		RootCAs: g.certs.roots, Transports: []string{transport}, Token: []byte(token), NoReconnect: true,
		DialTimeout: gateway.Patience,
	}
}

// enter opens a session with a token that is let in. It ends by leave.
func (g *generator) enter(transport string) (*session, error) {
	of, _, free := g.tokens.take("")
	defer free()
	return g.enterWith(g.config(transport, of.plain))
}

// enterWith opens a session, and counts it or its refusal.
func (g *generator) enterWith(cfg client.Config) (*session, error) {
	c, err := client.Dial(g.t.Context(), g.program.QUIC, cfg)
	code := wtproto.CodeNone
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote {
		code = e.Code
	} else if err != nil {
		return nil, fmt.Errorf("no session over %s: %w", cfg.Transports[0], err)
	}
	answer := code
	if code == wtproto.CodeRateLimited || code == wtproto.CodeForbidden {
		answer = wtproto.CodeNone // the token is good, the principal is at a limit
	}
	g.tally.one("authorization_duration_seconds_count", "code", answer.String())
	if err != nil {
		g.tally.one("sessions_refused_total", "code", code.String())
		return nil, err
	}
	g.tally.one("sessions_started_total", "transport", cfg.Transports[0])
	g.tally.add(0, 1, "refusals_total", "limit", "log_lines", "code", wtproto.CodeNone.String())
	return &session{c, cfg.Transports[0]}, nil
}

// leave ends s, and returns when it has ended.
func (g *generator) leave(s *session) {
	s.Close()
	g.ended(s, wtproto.CodeNone)
}

// ended counts the end of s.
func (g *generator) ended(s *session, code wtproto.Code) {
	g.tally.one("sessions_ended_total", "transport", s.transport, "code", code.String())
}

// endsBy waits until s was ended with a code, and counts that and the end of its topics.
func (g *generator) endsBy(s *session, code wtproto.Code, topics int) error {
	defer s.Close()
	select {
	case <-s.Done():
	case <-time.After(gateway.Patience):
		return fmt.Errorf("the session goes on, want %v", code)
	}
	if e, ok := errors.AsType[*wtproto.Error](s.Err()); !ok || !e.Remote || e.Code != code {
		return fmt.Errorf("the session ended with %v, want %v", s.Err(), code)
	}
	g.ended(s, code)
	g.tally.add(int64(topics), int64(topics), "leaves_total", "code", code.String())
	return nil
}

// join joins a topic of s, and counts that and the end of it.
func (g *generator) join(s *session, topic string, opts client.JoinOptions) (*client.Topic, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), gateway.Patience)
	defer cancel()
	top, err := s.Join(ctx, wtproto.TopicFromName(topic), opts)
	code := wtproto.CodeNone
	if err != nil && s.Err() != nil { // the gateway may have got it
		g.tally.add(0, 1, "joins_total", "code", code.String())
		return nil, fmt.Errorf("join %s: %w", topic, err)
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Remote {
		code = e.Code
	} else if err != nil {
		return nil, fmt.Errorf("join %s: %w", topic, err)
	}
	g.tally.one("joins_total", "code", code.String())
	return top, err
}

// left counts n topics that a session has left, or that ended with it.
func (g *generator) left(n int) {
	g.tally.add(int64(n), int64(n), "leaves_total", "code", wtproto.CodeNone.String())
}

// accept returns the next circuit of a topic.
func (g *generator) accept(top *client.Topic) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), gateway.Patience)
	defer cancel()
	c, err := top.Accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("no circuit, status %+v: %w", top.Status(), err)
	}
	return c, nil
}

// lead plays a script on a circuit that somebody else follows, and counts it.
func (g *generator) lead(c *client.Conn, s script) error {
	circuit := g.ends.begin(s, c.Peer().Network)
	err := g.leads(circuit, c)
	c.Close()
	return err
}

// leads plays the leader of a circuit, and counts it.
func (g *generator) leads(circuit *circuit, c *client.Conn) error {
	err := g.ends.leads(circuit, c)
	if err == errCrossed {
		g.tally.add(0, circuit.lead.sent, "circuit_bytes_total", "network", circuit.network, "direction", "to_peer")
		return nil
	}
	g.count(circuit)
	return err
}

// count counts a circuit that has ended.
func (g *generator) count(c *circuit) {
	g.tally.one("circuits_opened_total", "network", c.network)
	g.tally.one("circuits_ended_total", "network", c.network, "code", label(c.ended()))
	g.tally.one("circuit_duration_seconds_count", "network", c.network)
	g.tally.add(c.follow.read, c.lead.sent, "circuit_bytes_total", "network", c.network, "direction", "to_peer")
	g.tally.add(c.lead.read, c.follow.sent, "circuit_bytes_total", "network", c.network, "direction", "to_client")
	g.bytes.Add(c.follow.read + c.lead.read)
	if c.network == wtproto.NetworkClient {
		return
	}
	dials := int64(1)
	if c.network == "dht" {
		dials = 0 // either host may have opened it
	}
	g.tally.add(dials, 1, "dials_total", "network", c.network, "code", wtproto.CodeNone.String())
	g.tally.add(dials, 1, "dial_duration_seconds_count", "network", c.network)
}

// meet plays scripts with the n peers that are to come on a topic, and then does something with
// them. Meanwhile it plays scripts with those that come again, as TCP services do.
func (g *generator) meet(top *client.Topic, n int, scripts []script, then func([]client.Peer) error) (err error) {
	accepting, stop := context.WithCancel(g.t.Context())
	defer stop()
	type result struct {
		peer client.Peer
		err  error
	}
	results := make(chan result)
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			c, err := top.Accept(accepting)
			if err != nil {
				return
			}
			all.Go(func() { results <- result{c.Peer(), g.lead(c, scripts[i%len(scripts)])} })
		}
	})
	go func() {
		all.Wait()
		close(results)
	}()
	var peers []client.Peer
	timeout := time.After(2 * gateway.Patience)
	for n > 0 {
		select {
		case r := <-results:
			peers, err = append(peers, r.peer), errors.Join(err, r.err)
			n--
		case <-timeout:
			err = errors.Join(err, fmt.Errorf("no circuit with %d peers: %v", n, top.Status()))
			n = 0
		}
	}
	if err == nil {
		err = then(peers)
	}
	stop()
	for r := range results {
		err = errors.Join(err, r.err)
	}
	return err
}

// linger is how long a session stays after its circuits have ended. The gateway has to notice that
// before the session ends, because a circuit that ends with its session has another code.
const linger = time.Second

// leaveSoon ends s after linger, with so many topics. It does not wait for that.
func (g *generator) leaveSoon(s *session, topics int) {
	g.leaving.Go(func() {
		<-time.After(linger)
		g.leave(s)
		g.left(topics)
	})
}

// did counts an act.
func (g *generator) did(kind actKind) {
	n, _ := g.done.LoadOrStore(kind, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// summary says how often each kind of act was done.
func (g *generator) summary() string {
	var b strings.Builder
	for _, o := range often {
		if n, ok := g.done.Load(o.kind); ok {
			fmt.Fprintf(&b, "%d %s, ", n.(*atomic.Int64).Load(), o.kind)
		}
	}
	return b.String()
}

// label returns a code as a label of metrics.
func label(c wtproto.Code) string {
	if c >= wtproto.CodeApplication {
		return "APPLICATION"
	}
	return c.String()
}
