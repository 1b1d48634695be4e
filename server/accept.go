package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// idleCode is how much longer than a session a silent connection lives: QUIC's own end of it has
// no code, which would be lost.
const idleCode = 10 * time.Second

// requestsOnly is how long an HTTP/3 connection may live without a session.
const requestsOnly = 30 * time.Second

// unproven is how many handshakes a second are taken in all from those who have not shown that the
// address is theirs, and unprovenEach which share of an address's handshakes: one in so many.
const (
	unproven     = 200
	unprovenEach = 5
)

// acceptors is how many goroutines accept connections. quic-go keeps 32 that wait for one of them
// and refuses all others, so a single goroutine that has to wait for its turn loses connections.
const acceptors = 128

// acceptor takes connections from the socket: raw QUIC and HTTP/3 on the same port, told apart by
// ALPN. It owns a goroutine for each connection.
type acceptor struct {
	server    *Server
	transport *quic.Transport
	listener  *quic.EarlyListener
	h3        *webtransport.Server
	answers   *crowd.Crowd[*http.ResponseController]
	wg        sync.WaitGroup
}

func newAcceptor(s *Server, conn net.PacketConn) (*acceptor, error) {
	a := &acceptor{
		server:  s,
		answers: crowd.New[*http.ResponseController](maxAnswers, maxAnswersAddress, s.cfg.TrustedProxies...),
	}
	if c, ok := conn.(*net.UDPConn); ok {
		wrapped, err := udp.Wrap(c)
		if err != nil {
			return nil, err
		}
		conn = wrapped
	}
	all := rate.NewLimiter(unproven, unproven)
	perSecond := s.cfg.HandshakesPerAddress
	each := crowd.NewRates(float64(perSecond)/unprovenEach, max(2*perSecond/unprovenEach, 1), s.cfg.TrustedProxies...)
	handshakes := crowd.NewRates(float64(perSecond), 2*perSecond, s.cfg.TrustedProxies...)
	a.transport = &quic.Transport{
		Conn: conn,
		VerifySourceAddress: func(addr net.Addr) bool {
			// The limit of all comes last, so that one address does not use it up.
			return !each.Allow(crowd.AddrOf(addr), time.Now()) || !all.Allow()
		},
		ConnContext: func(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
			if !handshakes.Allow(crowd.AddrOf(client.RemoteAddr), time.Now()) {
				r := refuse(LimitHandshakes, "more than %d connections a second from one address", perSecond)
				s.cfg.Observer.refused(r)
				return nil, r.Error
			}
			return context.WithValue(ctx, visitKey{}, &visit{from: addrOf(client), began: make(chan struct{})}), nil
		},
	}
	if k := s.cfg.StatelessResetKey; k != nil {
		a.transport.StatelessResetKey = (*quic.StatelessResetKey)(k)
	}
	if k := s.cfg.TokenKey; k != nil {
		a.transport.TokenGeneratorKey = (*quic.TokenGeneratorKey)(k)
	}
	streams := s.cfg.circuits() + spareStreams
	window := uint64(streams) * streamWindow
	quicConfig := &quic.Config{
		MaxIdleTimeout:                   s.cfg.Idle + idleCode,
		InitialStreamReceiveWindow:       initialStreamWindow,
		MaxStreamReceiveWindow:           streamWindow,
		InitialConnectionReceiveWindow:   window,
		MaxConnectionReceiveWindow:       window,
		MaxIncomingStreams:               int64(streams),
		MaxIncomingUniStreams:            8, // HTTP/3's own
		InitialPacketSize:                wtproto.PacketSize,
		EnableDatagrams:                  true,
		EnableStreamResetPartialDelivery: true,
		Tracer:                           s.qlogs.trace,
	}
	tlsConfig := s.cfg.TLS.Clone()
	tlsConfig.NextProtos = []string{wtproto.ALPN, http3.NextProtoH3}
	tlsConfig.MinVersion = tls.VersionTLS13
	l, err := a.transport.ListenEarly(tlsConfig, quicConfig)
	if err != nil {
		return nil, err
	}
	a.listener = l
	a.h3 = &webtransport.Server{
		H3: &http3.Server{
			Handler:        a.handler(),
			TLSConfig:      tlsConfig,
			MaxHeaderBytes: 16 << 10,
			Logger:         s.log,
		},
		// Safari refuses a server that leaves any of these at zero.
		Config: &webtransport.Config{
			MaxIncomingStreams:    int64(streams),
			MaxIncomingUniStreams: 1,
			MaxIncomingData:       int64(window),
		},
		ApplicationProtocols: []string{wtproto.ALPN},
		ReorderingTimeout:    s.cfg.HelloTimeout,
		CheckOrigin:          func(*http.Request) bool { return true }, // the session refuses, with a code
	}
	return a, nil
}

// accept takes connections until the server closes or the socket fails, which is the error. It
// never waits for a connection.
func (a *acceptor) accept() error {
	ended := make(chan error, acceptors)
	for range acceptors {
		go func() { ended <- a.acceptLoop() }()
	}
	err := <-ended
	for range acceptors - 1 {
		<-ended // what ends one of them ends all
	}
	return err
}

func (a *acceptor) acceptLoop() error {
	for {
		conn, err := a.listener.Accept(a.server.ctx)
		if err != nil {
			return err
		}
		a.wg.Go(func() { a.serve(conn) })
	}
}

// wait returns after all connections have ended.
func (a *acceptor) wait() { a.wg.Wait() }

// close frees what newAcceptor made. The socket is the caller's.
func (a *acceptor) close() {
	a.h3.Close()
	a.listener.Close()
	a.transport.Close()
}

// serve serves one connection until it ends.
func (a *acceptor) serve(conn *quic.Conn) {
	v := conn.Context().Value(visitKey{}).(*visit)
	v.conn, v.cut = conn, func(r *refusal) { cutConn(conn, r) }
	a.server.enter(v, conn.RemoteAddr())
	defer a.server.leave(v)
	select {
	case <-conn.HandshakeComplete():
	case <-conn.Context().Done():
		return
	case <-a.server.ctx.Done():
		conn.CloseWithError(quic.ApplicationErrorCode(wtproto.CodeShutdown), "")
		return
	}
	if conn.ConnectionState().TLS.NegotiatedProtocol == wtproto.ALPN {
		a.server.run(v, quicLink{conn})
		return
	}
	a.serveHTTP3(v)
}

// serveHTTP3 serves requests and one session.
func (a *acceptor) serveHTTP3(v *visit) {
	conn := v.conn
	closeUnlessSession := func() {
		select {
		case <-v.began: // the session closes it, with a code
		default:
			conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no session")
		}
	}
	timeout := time.AfterFunc(requestsOnly, closeUnlessSession)
	defer timeout.Stop()
	stop := context.AfterFunc(a.server.ctx, closeUnlessSession)
	defer stop()
	if err := a.h3.ServeQUICConn(conn); err != nil {
		a.server.log.Debug("HTTP/3 connection failed", "error", err)
	}
}

// handler answers HTTP/3 requests.
func (a *acceptor) handler() http.Handler {
	other := a.server.cfg.Handler
	if other == nil {
		mux := http.NewServeMux()
		mux.Handle(wtproto.InfoPath, a.server.InfoHandler())
		other = mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Context().Value(visitKey{}).(*visit)
		if r.Method == http.MethodConnect && r.URL.Path == wtproto.Path {
			a.upgrade(v, w, r)
			return
		}
		a.answer(v, w, r, other)
	})
}

// upgrade makes a request a session and serves it.
func (a *acceptor) upgrade(v *visit, w http.ResponseWriter, r *http.Request) {
	first := false
	v.once.Do(func() { first = true })
	if !first {
		a.answer(v, w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "one session a connection", http.StatusTooManyRequests)
		}))
		return
	}
	keep := &keepStream{ResponseWriter: w}
	session, err := a.h3.Upgrade(keep, r)
	if err != nil {
		a.server.log.Debug("no WebTransport session", "error", err)
		http.Error(w, "this is a WebTransport endpoint", http.StatusBadRequest)
		return
	}
	close(v.began)
	a.server.run(v, newWebTransportLink(v.conn, session, keep, page{r.Header.Get("Origin"), r.Host}))
}
