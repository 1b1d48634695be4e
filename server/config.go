package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Config sets up a [Server]. A zero field means its documented default, a negative limit means
// none.
type Config struct {
	// TLS has the certificate. Required; NextProtos is set by the server.
	TLS *tls.Config
	// Hashes returns the SHA-256 hashes of the current and the next certificate where they are
	// pinned, and none if an authority signed the certificate, as Nil does. It is asked once a
	// session, since that may change, and must be fast.
	Hashes func() [][32]byte
	// Authorizer decides who may have a session. Nil lets everybody in.
	Authorizer Authorizer
	// Networks find and reach the peers. Without one, clients still meet each other.
	Networks []discovery.Network
	// DefaultNetworks are the names of those that a client gets which does not ask for networks by
	// name, [wtproto.NetworkClient] too. Nil means all but those that are [discovery.OnRequest],
	// which cannot be among them.
	DefaultNetworks []string
	// IsolateClients keeps the clients of this gateway from being connected to each other.
	IsolateClients bool
	// Names are public names and IP addresses of the gateway, each perhaps with a port, such as
	// "gateway.example:4433". Clients are told to connect to the first one, and without one to the
	// host that they asked for the info document. If the name has no port, the port is the one that
	// they asked by https, else that of Serve's socket. The gateway's own pages at these names may
	// have sessions.
	Names []string
	// Origins are the web origins that sessions may come from, such as "https://app.example".
	// "https://*.app.example" allows all names below one, "*" allows all. A session without an
	// Origin header, from a native program, passes always.
	Origins []string
	// ShowAddresses tells clients the addresses of native peers. It never tells those of other
	// clients.
	ShowAddresses bool
	// Agent is told to clients, at most [wtproto.MaxAgent] bytes. Empty means "swarmgate".
	Agent string
	// Handler answers HTTP/3 requests that are not sessions. Nil answers with the info document
	// and 404.
	Handler http.Handler
	// TrustedProxies are the networks of load balancers in front of the gateway. A UDP packet from
	// a balancer does not name the client's address, so the limits of addresses do not apply to an
	// address in these networks. Instead each connection is a principal of its own, unless the
	// Authorizer gives it a name, and all behind one balancer leave the last tenth of what the
	// gateway has to others. Nil means none.
	TrustedProxies []netip.Prefix

	// MaxSessions is how many sessions there may be at once. Zero means 10,000.
	MaxSessions int
	// MaxSessionsPerPrincipal is how many of them one principal may have. A principal is the name
	// that the Authorizer gave a session, else the IPv4 address or the IPv6 /64 that it comes
	// from; the /56 around it may have four times as many, and the /48 sixteen times. Zero means
	// 256.
	MaxSessionsPerPrincipal int
	// HandshakesPerAddress is how many connections a second may begin from one IPv4 address or
	// IPv6 /64, and twice as many at once; four times as many from a /56, and sixteen times from a
	// /48. More are refused, and above a fifth of it, clients have to prove their address first,
	// which takes a round trip. Zero means 100.
	HandshakesPerAddress int
	// MaxTopics is how many topics a session may have joined at once. Zero means 64.
	MaxTopics int
	// MaxTopicsPerPrincipal and MaxTopicsTotal are how many topics a principal and the gateway may
	// have, those in their grace time too. Zero means eight times MaxTopics, and 20,000.
	MaxTopicsPerPrincipal, MaxTopicsTotal int
	// NewTopics is how many topics without subscribers a principal may join a minute. Zero means
	// 300.
	NewTopics int
	// MaxCircuits is how many circuits, offers included, a session may have at once, if its client
	// does not want fewer. Zero means 256. Without a limit 2,048 still hold for streams and flow
	// control.
	MaxCircuits int
	// MaxCircuitsPerPrincipal and MaxCircuitsTotal are how many circuits a principal and the
	// gateway may have. Zero means sixteen times MaxCircuits, and 100,000.
	MaxCircuitsPerPrincipal, MaxCircuitsTotal int
	// MaxPairCircuits is how many further circuits a session may have with one peer on a topic:
	// those that it asked for and those that the peer asked for. Zero means seven eighths of
	// MaxCircuits, 224 by default. It is seven eighths of what a client wants at most.
	MaxPairCircuits int
	// NewCircuits is how many circuits a second a principal may begin, and ten times as many at
	// once. Further ones wait. Zero means 500.
	NewCircuits int
	// DefaultPeers is how many circuits a topic may give a session that did not ask for a number,
	// of which 16 with other clients. Zero means 64.
	DefaultPeers int
	// ControlRate is how many JOIN, LEAVE, DECLINE and PING frames a second a session may send,
	// ControlBurst how many at once. Zero means 100, and 200 or twice the topics that it can have
	// if that is more: who comes back joins all topics in one go. Of all frames it may send ten
	// times ControlRate, and of CREDIT also one for each KiB that it was sent.
	ControlRate  float64
	ControlBurst int
	// MaxControlBytes is how many bytes may wait for a session's control stream. Zero means 64
	// KiB.
	MaxControlBytes int
	// MaxPeers is how many peers are remembered a topic. Zero means 1,024.
	MaxPeers int
	// TopicDials, SessionDials and Dials are how many peers are dialed at once for a topic, for a
	// session and in all. Zero means 8, 16 and 256. Dials for further circuits are counted apart:
	// a session has four times as many at once, all together half as many, and a topic any number.
	TopicDials, SessionDials, Dials int
	// FailedDials is how many dials of a principal may fail a minute, or end with a circuit that
	// the peer ended at once; then its sessions wait before they dial again. Zero means 600.
	FailedDials int
	// Memory is what the program may use, in bytes. At three fifths nobody who has something gets
	// more, and at seven tenths circuits end of which the far end takes nothing. It can do no more
	// than that: for the garbage, set Go's own limit to four fifths, with [debug.SetMemoryLimit].
	// Zero means [AvailableMemory].
	Memory int64

	// HelloTimeout is how long a connection may take until WELCOME. Zero means 5s.
	HelloTimeout time.Duration
	// FirstFrameTimeout is how long a stream may take to say what it is. Zero means 5s.
	FirstFrameTimeout time.Duration
	// OfferTimeout is how long an offered circuit waits for its ACCEPT. Zero means 10s.
	OfferTimeout time.Duration
	// DialTimeout is how long a dial may take. Zero means 10s.
	DialTimeout time.Duration
	// WebSocketPing is how often a WebSocket gets a Ping, and how long the client has to answer it.
	// It is shorter than what proxies wait before they cut a silent connection, often a minute.
	// Zero means 25s.
	WebSocketPing time.Duration
	// PingAfter is how long a session may be silent before the gateway sends it a PING. Zero means
	// 20s. A session that has circuits is asked after a fifth of Silence, if that is less.
	PingAfter time.Duration
	// Idle is how long a silent session lives. Zero means 60s.
	Idle time.Duration
	// Silence is how long a silent session lives that has circuits, if it is less than Idle: its
	// peers wait for it. Zero means 25s.
	Silence time.Duration
	// Grace is how long a topic without subscribers stays on its networks. Zero means 15s.
	Grace time.Duration

	// Handover says that somebody else holds the sockets too, and gives them to the next process of
	// this gateway, as systemd does. [Server.Shutdown] then refuses nobody who comes for that
	// process: it throws away what new clients send to Serve's socket, and they send it again. The
	// socket has to be a *net.UDPConn or one of package udp.
	Handover bool
	// StatelessResetKey lets a restarted gateway end the sessions of the one before at their next
	// packet, and TokenKey keeps address validation valid. Both are to be kept over restarts; nil
	// means a random one.
	StatelessResetKey, TokenKey *[32]byte

	// Observer is told what happens. Nil means nobody.
	Observer *Observer
	// Logger takes the log. Nil is silent.
	Logger *slog.Logger
}

// Authorizer decides who may have a session, and what it may do there. Authorize is called once a
// session, after its HELLO, by several goroutines at once. It may block until ctx ends, which is
// when the session has waited for too long. An error that holds an [*wtproto.Error], such as
// CodeUnauthorized, CodeTokenExpired or CodeForbidden, refuses with that code and reason; any
// other refuses with CodeInternal.
type Authorizer interface {
	Authorize(ctx context.Context, r auth.Request) (auth.Grant, error)
}

// Flow control of one session, in bytes. A stream that is not read must leave room for the others,
// so the connection's window is as large as the windows of all circuits together. What is held is
// bounded by the windows of streams: they are small until much was read of them, and fast.
const (
	streamWindow        = 512 << 10
	initialStreamWindow = 32 << 10
	unlimitedCircuits   = 2048
	spareStreams        = 32 // streams of a session that are not circuits
	// maxCircuits is the most that windows can be made for: QUIC's numbers have 62 bits.
	maxCircuits = 1<<62/streamWindow - 1 - spareStreams
)

func orDefault[T int | int64 | float64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxSessions, 10_000)
	orDefault(&c.MaxSessionsPerPrincipal, 256)
	orDefault(&c.HandshakesPerAddress, 100)
	orDefault(&c.MaxTopics, 64)
	orDefault(&c.MaxTopicsPerPrincipal, 8*c.MaxTopics)
	orDefault(&c.MaxTopicsTotal, 20_000)
	orDefault(&c.NewTopics, 300)
	orDefault(&c.NewCircuits, 500)
	orDefault(&c.MaxCircuits, 256)
	orDefault(&c.MaxPairCircuits, c.MaxCircuits-c.MaxCircuits/8)
	orDefault(&c.MaxCircuitsPerPrincipal, 16*c.MaxCircuits)
	orDefault(&c.MaxCircuitsTotal, 100_000)
	orDefault(&c.DefaultPeers, 64)
	orDefault(&c.ControlRate, 100)
	orDefault(&c.ControlBurst, max(200, 2*c.topicsAtOnce()))
	orDefault(&c.MaxControlBytes, 64<<10)
	orDefault(&c.MaxPeers, 1024)
	orDefault(&c.TopicDials, 8)
	orDefault(&c.SessionDials, 16)
	orDefault(&c.Dials, 256)
	orDefault(&c.FailedDials, 600)
	orDefault(&c.HelloTimeout, 5*time.Second)
	orDefault(&c.FirstFrameTimeout, 5*time.Second)
	orDefault(&c.OfferTimeout, 10*time.Second)
	orDefault(&c.DialTimeout, 10*time.Second)
	orDefault(&c.WebSocketPing, 25*time.Second)
	orDefault(&c.PingAfter, 20*time.Second)
	orDefault(&c.Idle, time.Minute)
	orDefault(&c.Silence, 25*time.Second)
	orDefault(&c.Grace, 15*time.Second)
	if c.DefaultNetworks == nil {
		c.DefaultNetworks = c.namesByDefault()
	}
	if c.Memory == 0 {
		c.Memory = AvailableMemory()
	}
	if c.Agent == "" {
		c.Agent = "swarmgate"
	}
	if c.Observer == nil {
		c.Observer = &Observer{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.TLS == nil {
		errs = append(errs, errors.New("no TLS"))
	}
	if len(c.Agent) > wtproto.MaxAgent {
		errs = append(errs, fmt.Errorf("agent has %d bytes, at most %d", len(c.Agent), wtproto.MaxAgent))
	}
	for _, p := range c.TrustedProxies {
		if !p.IsValid() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("trusted proxy %v: want a range of addresses, of IPv4 as IPv4", p))
		}
	}
	names := make(map[string]bool)
	for i, n := range c.Networks {
		switch {
		case n == nil:
			errs = append(errs, fmt.Errorf("network %d is nil", i))
			continue
		case n.Name() == "" || len(n.Name()) > wtproto.MaxNetwork:
			errs = append(errs, fmt.Errorf("network %d: name %q has %d bytes, want 1 to %d", i, n.Name(), len(n.Name()), wtproto.MaxNetwork))
		case n.Name() == wtproto.NetworkClient || names[n.Name()]:
			errs = append(errs, fmt.Errorf("network %d: name %q is taken", i, n.Name()))
		}
		names[n.Name()] = true
	}
	if len(c.Networks) > wtproto.MaxNetworks {
		errs = append(errs, fmt.Errorf("%d networks, at most %d", len(c.Networks), wtproto.MaxNetworks))
	}
	for _, name := range c.DefaultNetworks {
		if known := c.networkNames(); name != wtproto.NetworkClient && !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("default network %q is not one of %s", name, strings.Join(known, ", ")))
		}
		for _, n := range c.Networks {
			if n != nil && onRequest(n) && slices.Contains(namesOf(n), name) {
				errs = append(errs, fmt.Errorf("default network %q is only for clients that ask for it by name", name))
			}
		}
	}
	for _, o := range c.Origins {
		if _, err := hostname.ParseOrigins(o); err != nil {
			errs = append(errs, fmt.Errorf("origin %w", err))
		}
	}
	for _, n := range c.Names {
		if _, err := hostname.ParseHostPort(n); err != nil {
			errs = append(errs, fmt.Errorf("name %w", err))
		}
	}
	if int64(c.MaxCircuits) > maxCircuits {
		errs = append(errs, fmt.Errorf("MaxCircuits is %d, at most %d", c.MaxCircuits, int64(maxCircuits)))
	}
	if c.MaxTopics > math.MaxInt/2 {
		errs = append(errs, fmt.Errorf("MaxTopics is %d, at most %d", c.MaxTopics, math.MaxInt/2))
	}
	if c.Memory < 0 {
		errs = append(errs, errors.New("negative Memory"))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"HelloTimeout", c.HelloTimeout},
		{"FirstFrameTimeout", c.FirstFrameTimeout},
		{"OfferTimeout", c.OfferTimeout},
		{"DialTimeout", c.DialTimeout},
		{"WebSocketPing", c.WebSocketPing},
		{"PingAfter", c.PingAfter},
		{"Idle", c.Idle},
		{"Silence", c.Silence},
		{"Grace", c.Grace},
	} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("negative %s", d.name))
		}
	}
	return errors.Join(errs...)
}

// circuits returns how many circuits a session's windows are made for.
func (c *Config) circuits() int {
	if c.MaxCircuits < 0 {
		return unlimitedCircuits
	}
	return c.MaxCircuits
}

// within reports whether one more than n is within a limit, of which a negative one is none.
func within(n, limit int) bool { return limit < 0 || n < limit }

// advertised returns a limit as it stands on the wire, on which 0 means no limit.
func advertised(limit int) uint64 { return uint64(max(limit, 0)) }

// topicsAtOnce returns how many topics a session can have.
func (c *Config) topicsAtOnce() int {
	for _, limit := range []int{c.MaxTopics, c.MaxTopicsPerPrincipal, c.MaxTopicsTotal} {
		if limit >= 0 {
			return limit
		}
	}
	return math.MaxInt32
}

// maxVisits returns how many connections without a session there may be.
func (c *Config) maxVisits() int {
	if c.MaxSessions < 0 {
		return -1
	}
	return max(c.MaxSessions/4, 256)
}

// principal returns the principal to charge for a session from an address.
func (c *Config) principal(g *auth.Grant, from net.Addr) *principal {
	at := crowd.AddrPortOf(from)
	if g.Name == "" && crowd.Shared(c.TrustedProxies).Contains(at.Addr()) {
		return newBehind(g, at)
	}
	return newPrincipal(g, at.Addr())
}

// ledger returns an empty ledger with the limits of c.
func (c *Config) ledger() *ledger {
	burst := max(c.MaxTopicsPerPrincipal, c.NewTopics, 1)
	if c.MaxTopicsPerPrincipal < 0 {
		burst = math.MaxInt32
	}
	return newLedger(
		[numResources]quota{
			resourceSessions:    {int64(c.MaxSessions), int64(c.MaxSessionsPerPrincipal), LimitSessions, LimitSessionsPrincipal, "sessions"},
			resourceTopics:      {int64(c.MaxTopicsTotal), int64(c.MaxTopicsPerPrincipal), LimitTopics, LimitTopicsPrincipal, "topics"},
			resourceAuthorizing: {-1, authorizingOfAddress, LimitAuthorizing, LimitAuthorizing, "requests to the authorizer"},
			resourceCircuits:    {int64(c.MaxCircuitsTotal), int64(c.MaxCircuitsPerPrincipal), LimitCircuits, LimitCircuitsPrincipal, "circuits"},
		},
		[numFlows]pace{
			flowFrames:      {rate.Limit(c.ControlRate) * framesOfEachAsk * framesOfPrincipal, framesOfEachAsk * framesOfPrincipal * 100, LimitFramesPrincipal, "frames"},
			flowLogLines:    {linesPerSecond, linesBurst, LimitLogLines, "sessions in the log"},
			flowNewCircuits: {rate.Limit(c.NewCircuits), 10 * max(c.NewCircuits, 1), LimitNewCircuits, "new circuits"},
			flowNewTopics:   {rate.Limit(c.NewTopics) / 60, burst, LimitNewTopics, "new topics"},
			flowFailedDials: {rate.Limit(c.FailedDials) / 60, max(c.FailedDials, 1), LimitFailedDials, "failed dials"},
		},
	)
}
