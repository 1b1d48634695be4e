package client

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Config sets up a [Client]. The zero value asks for no rights and trusts the system's roots.
type Config struct {
	// Gateways are the addresses of others that may be used instead of the one that is dialed, in
	// the forms that [Dial] takes. The same Token or TokenSource, RootCAs, CertHashes and
	// ServerName are good for all of them.
	Gateways []string
	// NoReconnect makes the first session the only one: its end is that of the client.
	NoReconnect bool
	// Token is shown to the gateway, at most [wtproto.MaxToken] bytes.
	Token []byte
	// TokenSource returns the token of one attempt to open a session, instead of Token, so that
	// one that expires can be fetched anew. An error fails the attempt, and the client tries again
	// with growing delays, unless the error's chain holds an [*wtproto.Error] with a code that is
	// permanent, such as CodeUnauthorized after a logout. A gateway that refuses a token is then
	// asked once more, with the next token (docs/PROTOCOL.md, 9.1). It has [Config.DialTimeout]
	// together with the rest of the attempt, must return when ctx ends, which [Client.Close] waits
	// for, and may be called on several goroutines at once.
	TokenSource func(ctx context.Context) ([]byte, error)
	// Transports are those that may be used, the preferred one first. Each has 500ms before the
	// next one is tried beside it, or until it fails. That of the last session with a gateway is
	// tried first for an hour. WebSocket is for networks without UDP, and goes through the HTTP
	// proxy that HTTPS_PROXY and NO_PROXY name. Nil means TransportQUIC, then TransportWebSocket.
	Transports []string
	// RootCAs are the authorities that may sign the gateway's certificate. Nil means the system's.
	RootCAs *x509.CertPool
	// CertHashes are SHA-256 hashes of certificates in DER, for all gateways; a gateway URL brings
	// its own for one. If there are any, the gateway's certificate is trusted because it has one of
	// them, and for no other reason: no authority and no name is checked. As in a browser it must
	// then have an ECDSA P-256 key, be valid now, and for 14 days at most. Those that a gateway
	// told last, with the certificate that it will have next, are trusted from that gateway too.
	CertHashes [][32]byte
	// ServerName is what the certificate is checked for, and what the gateway is asked for. Empty
	// means the host that is dialed.
	ServerName string
	// Agent is what the gateway shows to people; at most [wtproto.MaxAgent] bytes of UTF-8. Empty
	// means "swarmgate-go".
	Agent string
	// Budget is how many bytes all circuits of a session together may hold that nobody has read, 2
	// MiB to 1 TiB. Zero means 64 MiB.
	Budget int64
	// MaxCircuits is how many circuits the client wants at once at most. Zero means as many as the
	// gateway allows.
	MaxCircuits int
	// Secret says that two sessions are the same client: the newer one replaces the older. Nil
	// means a random one. Keep it in a file if peers connect to the program: if the program
	// crashes and starts again with the same Secret, its old session ends at once. Otherwise the
	// old one stays until the gateway notices, up to 25 s, and peers may try to reach it.
	Secret *wtproto.Secret
	// DialTimeout is how long it may take until one of the gateways has greeted, in [Dial] and
	// later. Each further gateway is tried 500ms after the one before, or when that has failed.
	// Zero means 10s.
	DialTimeout time.Duration
	// Silence is how long a session lives without a sign of life from the gateway, 3s to 1m. It is
	// asked for one after 2s if there are circuits, and after three fifths of Silence at the
	// latest; 3s after that another gateway is tried. Zero means 25s.
	Silence time.Duration
	// ListenPacket opens the socket of a session over QUIC. Each attempt to open one has a socket
	// of its own, which it closes: what went wrong on the way of the one before may go wrong for
	// that port only. It must not block, and may be called on several goroutines at once; a
	// deadline has to end the socket's reads. Nil means a UDP socket on any port.
	ListenPacket func() (net.PacketConn, error)
	// Logger takes the log. Its handler must neither block nor call the client. Nil is silent.
	Logger *slog.Logger

	dialTCP dialFunc // for tests; nil means the package's
}

// dialFunc is DialContext of a [net.Dialer].
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// withDefaults returns a copy of c that shares no memory with it and has no zero field of those
// that have a default.
func (c Config) withDefaults() Config {
	c.Token = slices.Clone(c.Token)
	c.CertHashes = slices.Clone(c.CertHashes)
	c.Gateways = slices.Clone(c.Gateways)
	if c.Transports = slices.Clone(c.Transports); len(c.Transports) == 0 {
		c.Transports = []string{TransportQUIC, TransportWebSocket}
	}
	if c.Agent == "" {
		c.Agent = "swarmgate-go"
	}
	if c.Budget == 0 {
		c.Budget = 64 << 20
	}
	if c.Secret == nil {
		c.Secret = new(wtproto.Secret)
		rand.Read(c.Secret[:])
	} else {
		secret := *c.Secret
		c.Secret = &secret
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 10 * time.Second
	}
	if c.Silence == 0 {
		c.Silence = 25 * time.Second
	}
	if c.ListenPacket == nil {
		c.ListenPacket = func() (net.PacketConn, error) { return udp.Listen("udp", ":0") }
	}
	if c.dialTCP == nil {
		c.dialTCP = dialTCP
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every mistake.
func (c *Config) validate() error {
	var errs []error
	if len(c.Token) > wtproto.MaxToken {
		errs = append(errs, fmt.Errorf("a Token of %d bytes, at most %d", len(c.Token), wtproto.MaxToken))
	}
	if len(c.Token) > 0 && c.TokenSource != nil {
		errs = append(errs, errors.New("both Token and TokenSource"))
	}
	for i, name := range c.Transports {
		if name != TransportQUIC && name != TransportWebSocket {
			errs = append(errs, fmt.Errorf("unknown transport %q, want %q or %q", name, TransportQUIC, TransportWebSocket))
		} else if slices.Contains(c.Transports[:i], name) {
			errs = append(errs, fmt.Errorf("the transport %q twice", name))
		}
	}
	if c.RootCAs != nil && len(c.CertHashes) > 0 {
		errs = append(errs, errors.New("both RootCAs and CertHashes"))
	}
	if len(c.Agent) > wtproto.MaxAgent || !utf8.ValidString(c.Agent) {
		errs = append(errs, fmt.Errorf("an Agent of %d bytes, want at most %d of UTF-8", len(c.Agent), wtproto.MaxAgent))
	}
	if c.Budget != 0 && (c.Budget < minBudget || c.Budget > maxBudget) {
		errs = append(errs, fmt.Errorf("a Budget of %d bytes, want %d to %d", c.Budget, minBudget, int64(maxBudget)))
	}
	if c.MaxCircuits < 0 {
		errs = append(errs, errors.New("a negative MaxCircuits"))
	}
	if c.DialTimeout < 0 {
		errs = append(errs, errors.New("a negative DialTimeout"))
	}
	if c.Silence != 0 && (c.Silence < minSilence || c.Silence > maxSilence) {
		errs = append(errs, fmt.Errorf("a Silence of %v, want %v to %v", c.Silence, minSilence, maxSilence))
	}
	return errors.Join(errs...)
}

// JoinOptions say how a topic is joined. The zero value announces, looks up, and leaves the number
// of peers to the gateway.
type JoinOptions struct {
	// AnnounceOnly means to be found, and not to look for others.
	AnnounceOnly bool
	// LookUpOnly means to find others, and not to be found. Not together with AnnounceOnly.
	LookUpOnly bool
	// MaxPeers is how many peers the topic may have at once. Zero means the gateway's default, of
	// which a part are other clients.
	MaxPeers int
	// Streams welcomes circuits that peers open beside the first one with each, as [Topic.Open]
	// does there. Without it they are declined. [Topic.Listen] sets it.
	Streams bool
	// Networks are the names of those to be on, such as "dht", "lan", "static" and
	// [wtproto.NetworkClient], which is the other clients of the gateway; at most
	// [wtproto.MaxNetworks]. Those that the gateway does not have, or does not allow, are left
	// out. None means the gateway's default.
	Networks []string
	// Filter decides about each peer before there is a circuit with it. It runs on the goroutines
	// that read what the gateway says, maybe on several at once, so it must neither block nor call
	// the client. Nil takes all.
	Filter func(Peer) bool
}

func (o *JoinOptions) validate() error {
	if o.AnnounceOnly && o.LookUpOnly {
		return errors.New("both AnnounceOnly and LookUpOnly")
	}
	if o.MaxPeers < 0 {
		return errors.New("a negative MaxPeers")
	}
	if len(o.Networks) > wtproto.MaxNetworks {
		return fmt.Errorf("%d Networks, at most %d", len(o.Networks), wtproto.MaxNetworks)
	}
	for _, name := range o.Networks {
		if name == "" || len(name) > wtproto.MaxNetwork || !utf8.ValidString(name) {
			return fmt.Errorf("invalid network %q", name)
		}
	}
	return nil
}

// frame returns the JOIN that says o.
func (o *JoinOptions) frame(topic wtproto.Topic) wtproto.Join {
	m := wtproto.Join{Topic: topic, MaxPeers: min(uint64(o.MaxPeers), 1<<62-1), Networks: o.Networks}
	if !o.LookUpOnly {
		m.Flags |= wtproto.JoinAnnounce
	}
	if !o.AnnounceOnly {
		m.Flags |= wtproto.JoinLookUp
	}
	if o.Filter != nil {
		m.Flags |= wtproto.JoinOfferOnly
	}
	if o.Streams {
		m.Flags |= wtproto.JoinStreams
	}
	return m
}
