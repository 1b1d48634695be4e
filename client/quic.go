package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/internal/urgency"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	idleTimeout = time.Minute      // without a packet, until QUIC gives up
	keepAlive   = 15 * time.Second // without a packet, until QUIC asks for one, lest a NAT forgets the path
	maxStreams  = 300              // opened by the gateway: circuits, and those that are ending
)

// quicConfig returns how a session with a budget speaks QUIC. If large is set, packets become as
// large as the path carries. Credit is what limits the gateway, never a window of QUIC: the windows
// are fixed, and half as large again as credit can be, for QUIC lets a quarter of a window be read
// before it opens it again.
func quicConfig(cfg *Config, large bool) *quic.Config {
	const streamWindow = maxWindow * 3 / 2
	connWindow := uint64(cfg.Budget) * 3 / 2
	return &quic.Config{
		HandshakeIdleTimeout:             2 * min(cfg.DialTimeout, 24*time.Hour), // so that it is the client that gives up
		MaxIdleTimeout:                   idleTimeout,
		KeepAlivePeriod:                  keepAlive,
		InitialStreamReceiveWindow:       streamWindow,
		MaxStreamReceiveWindow:           streamWindow,
		InitialConnectionReceiveWindow:   connWindow,
		MaxConnectionReceiveWindow:       connWindow,
		MaxIncomingStreams:               maxStreams,
		MaxIncomingUniStreams:            -1,
		InitialPacketSize:                wtproto.PacketSize,
		DisablePathMTUDiscovery:          !large,
		EnableStreamResetPartialDelivery: true, // a first frame arrives though its stream was reset
	}
}

// maxPaths is how many paths a session may use one after the other.
const maxPaths = 5

// paths are the sockets of a link, the last of which it uses. quic-go ends a connection if a
// Transport that it has used is closed, so all of them stay open until the link is closed.
type paths struct {
	listen  func() (net.PacketConn, error) // constant
	refused chan struct{}                  // for nobodyListens
	narrow  chan struct{}                  // for tooNarrow
	conn    atomic.Pointer[quic.Conn]      // nil before the handshake is over

	trying  sync.Mutex // held by the migration in progress
	current *quic.Path // guarded by trying; nil while that is the one of the handshake

	mu     sync.Mutex
	all    []*quic.Transport // guarded by mu
	closed bool              // guarded by mu
}

// add opens one more socket. The result is nil if there are enough.
func (p *paths) add() (*quic.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.all) == maxPaths {
		return nil, nil
	}
	socket, err := p.listen()
	if err != nil {
		return nil, err
	}
	if fast, ok := socket.(*udp.Conn); ok {
		probing := &probingSocket{Conn: fast, refused: p.refused, narrow: p.narrow, stats: p.stats}
		probing.large.rounds = lossRounds << len(p.all) // lest a path that merely loses much uses up all paths
		socket = probing
	}
	tr := &quic.Transport{Conn: socket, ConnectionIDGenerator: noConnectionIDs{}}
	p.all = append(p.all, tr)
	return tr, nil
}

// stats returns how many bytes the connection has lost, and its round trip time.
func (p *paths) stats() (lost uint64, rtt time.Duration) {
	conn := p.conn.Load()
	if conn == nil {
		return 0, 0
	}
	s := conn.ConnectionStats()
	return s.BytesLost, s.SmoothedRTT
}

// left tells that now is the socket in use. The others send no probes any more.
func (p *paths) left(now *quic.Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tr := range p.all {
		if s, ok := tr.Conn.(*probingSocket); ok && tr != now {
			s.stopProbing()
		}
	}
}

// close gives back the sockets. What is still to be sent is lost.
func (p *paths) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, tr := range p.all {
		tr.Close()
		tr.Conn.Close()
	}
}

// quicLink is a link over raw QUIC, on sockets of its own.
type quicLink struct {
	paths paths
	conn  *quic.Conn
	turns urgency.Turns // of streams that have much to send
}

// noConnectionIDs gives connections of clients ids of no length. A socket has one session, so
// there is nothing to tell apart; and quic-go's server takes a new id of the client each time that
// the client's address changes, which would be possible twice only.
type noConnectionIDs struct{}

func (noConnectionIDs) GenerateConnectionID() (id quic.ConnectionID, err error) { return id, nil }
func (noConnectionIDs) ConnectionIDLen() int                                    { return 0 }

// dialQUICLink returns a link with g, whose certificate is trusted as trust says.
func dialQUICLink(ctx context.Context, cfg *Config, g *gateway, trust *tls.Config) (link, error) {
	to, err := resolve(ctx, g.host, g.port)
	if err != nil {
		return nil, err
	}
	l := &quicLink{paths: paths{listen: cfg.ListenPacket, refused: make(chan struct{}, 1), narrow: make(chan struct{}, 1)}}
	tr, err := l.paths.add()
	if err != nil {
		return nil, err
	}
	_, own := tr.Conn.(*probingSocket)
	// What is larger than wtproto.PacketSize needs the care of largePackets.
	conf := func(to netip.Addr) *quic.Config { return quicConfig(cfg, own && udp.Fragments(to)) }
	if l.conn, err = dialQUIC(ctx, tr, to, trust, conf); err != nil {
		l.paths.close()
		return nil, err
	}
	l.paths.conn.Store(l.conn)
	return l, nil
}

func (l *quicLink) open(ctx context.Context) (stream, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	switch {
	case err == nil:
		return quicStream{s, urgency.NewWriter(s, &l.turns)}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, sessionError(quicError(err))
}

func (l *quicLink) tryOpen() (stream, error) {
	s, err := l.conn.OpenStream()
	if err == nil {
		return quicStream{s, urgency.NewWriter(s, &l.turns)}, nil
	}
	if _, ok := errors.AsType[*quic.StreamLimitReachedError](err); ok {
		return nil, errNoStream
	}
	return nil, sessionError(quicError(err))
}

func (l *quicLink) accept(ctx context.Context) (stream, error) {
	s, err := l.conn.AcceptStream(ctx)
	if err != nil {
		return nil, sessionError(quicError(err))
	}
	return quicStream{s, urgency.NewWriter(s, &l.turns)}, nil
}

func (l *quicLink) close(code wtproto.Code, reason string) {
	l.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
	l.paths.close()
	l.turns.Wait()
}

func (l *quicLink) transport() string { return TransportQUIC }

// migrate has the connection go on over a socket of its own, if the gateway answers there (RFC 9000,
// 9). That helps if a firewall or a NAT has closed the path in use. It also helps if the packets of
// either side have become too large for the path, for example because a VPN was started: quic-go
// never goes back to smaller packets, but begins with small ones on a new path.
func (l *quicLink) migrate(ctx context.Context) bool {
	if !l.paths.trying.TryLock() {
		return false
	}
	defer l.paths.trying.Unlock()
	tr, err := l.paths.add()
	if tr == nil || err != nil {
		return false
	}
	path, err := l.conn.AddPath(tr)
	if err != nil {
		return false
	}
	if path.Probe(ctx) != nil || path.Switch() != nil {
		return false
	}
	if l.paths.current != nil {
		_ = l.paths.current.Close() // gives back its connection id; it is not the active one any more
	}
	l.paths.current = path
	l.paths.left(tr)
	return true
}

func (l *quicLink) nobodyListens() <-chan struct{} { return l.paths.refused }

func (l *quicLink) tooNarrow() <-chan struct{} { return l.paths.narrow }

func (l *quicLink) rtt() time.Duration { return l.conn.ConnectionStats().SmoothedRTT }

// quicStream is a stream of a quicLink.
type quicStream struct {
	*quic.Stream
	writer *urgency.Writer
}

func (s quicStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, streamError(err)
}

func (s quicStream) Write(p []byte) (int, error) {
	n, err := s.writer.Write(p)
	return n, streamError(err)
}

// goFirst has what is written to s go before what all other streams of the link send.
func (s quicStream) goFirst() { s.writer.First() }

func (s quicStream) CloseWrite() error {
	if s.writer.Close() == nil {
		return nil
	}
	_, err := s.Write(nil) // says who reset it
	return err
}

func (s quicStream) secure() { s.SetReliableBoundary() }

func (s quicStream) reset(code wtproto.Code) {
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
	s.writer.Hurry(true)
}

func (s quicStream) SetWriteDeadline(t time.Time) error { return s.writer.SetWriteDeadline(t) }

func (s quicStream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s quicStream) stop(code wtproto.Code) { s.CancelRead(quic.StreamErrorCode(code)) }

func (s quicStream) onReset(f func(wtproto.Code)) {
	context.AfterFunc(s.Context(), func() {
		if e, ok := errors.AsType[*resetError](streamError(context.Cause(s.Context()))); ok {
			f(e.code)
		}
	})
}

func (s quicStream) holds() bool {
	n, _ := s.Peek(make([]byte, 1))
	return n > 0
}

// streamError returns err, of quic-go, as Read and Write of a [stream] say it.
func streamError(err error) error {
	if err == nil || err == io.EOF || err == net.ErrClosed || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if errors.Is(err, quic.ErrStreamClosed) {
		return net.ErrClosed
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		switch {
		case !e.Remote:
			return net.ErrClosed
		case e.ErrorCode > math.MaxUint32:
			return &resetError{wtproto.CodePeerReset} // no code of ours
		}
		return &resetError{wtproto.Code(e.ErrorCode)}
	}
	return quicError(err)
}

// quicError returns err, with which a connection ended, as an error of the link. The errors of
// quic-go are not in its chain, for most of them are a net.ErrClosed too.
func quicError(err error) error {
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		code := wtproto.CodeProtocol
		if e.ErrorCode <= math.MaxUint32 {
			code = wtproto.Code(e.ErrorCode)
		}
		return &wtproto.Error{Code: code, Remote: e.Remote, Reason: e.ErrorMessage}
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return wtproto.Errorf(wtproto.CodeIdle, "no packet from the gateway for %v", idleTimeout)
	}
	return wtproto.Errorf(wtproto.CodePeerGone, "the connection was lost: %v", err)
}

// dialError returns why a connection did not come about: an *wtproto.Error if the gateway refused
// it, the error of package x509 if its certificate is not trusted, the cause of the context if
// that ended.
func dialError(err error) error {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return quicError(err)
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		for _, cause := range e.Unwrap() {
			if cause != nil && cause != net.ErrClosed {
				return cause
			}
		}
		return errors.New(e.Error())
	}
	return err
}

// dialQUIC returns the first connection that comes about. Each address gets a head start of
// stagger before the next one, and all that are in progress are given up before it returns. conf
// returns how to speak QUIC with an address.
func dialQUIC(ctx context.Context, tr *quic.Transport, to []netip.AddrPort, tlsConf *tls.Config, conf func(netip.Addr) *quic.Config) (*quic.Conn, error) {
	var field []runner[*quic.Conn]
	for _, a := range to {
		addr := net.UDPAddrFromAddrPort(a)
		field = append(field, runner[*quic.Conn]{addr.String(), func(ctx context.Context) (*quic.Conn, error) {
			conn, err := tr.Dial(ctx, addr, tlsConf, conf(a.Addr()))
			return conn, dialError(err)
		}})
	}
	return race(ctx, stagger, field, func(conn *quic.Conn) { conn.CloseWithError(0, "another address was faster") })
}
