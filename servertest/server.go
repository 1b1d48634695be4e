package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// patience is how long a client or a peer may take for what takes milliseconds.
const patience = time.Minute

// Server is a gateway that listens on loopback. Any number of goroutines may use it.
type Server struct {
	*server.Server
	// URL is the gateway's address with the hash of its certificate, which client.Dial takes.
	URL string
	// CertHash is that hash.
	CertHash [32]byte

	socket  net.PacketConn
	site    *http.Server
	network *network
	served  chan error    // has what Serve returned
	closed  chan struct{} // closed when the site has ended
	close   sync.Once
}

// NewServer starts a gateway, or panics. It speaks WebSocket on the TCP port of the same number.
// It brings its own certificate, unless cfg.TLS is set, and a network "test" beside those of cfg,
// which stay the caller's to close after [Server.Close]. A zero cfg is good for most tests. The
// zero HelloTimeout, FirstFrameTimeout, OfferTimeout and DialTimeout mean a minute here, because a
// busy machine may need more than the few seconds that they mean elsewhere.
func NewServer(cfg server.Config) *Server {
	for _, d := range []*time.Duration{&cfg.HelloTimeout, &cfg.FirstFrameTimeout, &cfg.OfferTimeout, &cfg.DialTimeout} {
		if *d == 0 {
			*d = patience
		}
	}
	s := &Server{network: newNetwork(), served: make(chan error, 1), closed: make(chan struct{})}
	var err error
	if cfg.TLS == nil {
		cert, err := NewCertificate()
		if err != nil {
			panic(fmt.Sprintf("servertest: certificate: %v", err))
		}
		s.CertHash = sha256.Sum256(cert.Certificate[0])
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		cfg.Hashes = func() [][32]byte { return [][32]byte{s.CertHash} }
	}
	cfg.Networks = append(cfg.Networks[:len(cfg.Networks):len(cfg.Networks)], s.network)
	if s.Server, err = server.New(cfg); err != nil {
		panic(fmt.Sprintf("servertest: %v", err))
	}
	var listener net.Listener
	if s.socket, listener, err = listenBoth(); err != nil {
		panic(fmt.Sprintf("servertest: %v", err))
	}
	u := wtproto.GatewayURL{Host: "127.0.0.1", Port: uint16(s.socket.LocalAddr().(*net.UDPAddr).Port)}
	if cfg.Hashes != nil {
		u.Hashes = cfg.Hashes()
	}
	s.URL = u.String()
	go func() { s.served <- s.Serve(s.socket) }()
	s.site = &http.Server{Handler: s.handler(), TLSConfig: cfg.TLS.Clone(), ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		s.site.ServeTLS(listener, "", "")
		close(s.closed)
	}()
	select {
	case <-s.Started():
	case err := <-s.served:
		panic(fmt.Sprintf("servertest: %v", err))
	}
	return s
}

// Close ends all sessions and the peers of [Server.Listen], and waits until nothing is left. It
// may be called more than once. It panics if something did not end.
func (s *Server) Close() {
	s.close.Do(func() {
		s.Server.Close()
		if err := <-s.served; !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("servertest: Serve = %v", err))
		}
		s.site.Close()
		<-s.closed
		s.socket.Close()
		s.network.Close()
	})
}

// listenBoth listens on UDP and TCP, on a free port of loopback.
func listenBoth() (net.PacketConn, net.Listener, error) {
	for attempt := 0; ; attempt++ {
		socket, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		listener, err := net.Listen("tcp", socket.LocalAddr().String())
		if err == nil {
			return socket, listener, nil
		}
		socket.Close()
		if attempt == 32 {
			return nil, nil, err
		}
	}
}

// handler answers for the info document, and for sessions over WebSocket.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(wtproto.InfoPath, s.InfoHandler())
	mux.Handle("GET "+wtproto.Path, s.WebSocketHandler())
	return mux
}

// InfoServer starts a web server on loopback, without TLS, that answers for the gateway's info
// document, which client.Discover reads, and takes sessions over WebSocket. The caller closes it.
func (s *Server) InfoServer() *httptest.Server { return httptest.NewServer(s.handler()) }

// Listen adds a peer to a topic, which lives in this process: clients get circuits with it, whose
// other ends its Accept returns. The caller closes it, or [Server.Close] does.
func (s *Server) Listen(topic wtproto.Topic) *Peer { return s.network.listen(topic) }

// AddTCP makes the TCP service at address, an IP address and port, a peer of a topic. Each
// circuit with it is a connection.
func (s *Server) AddTCP(topic wtproto.Topic, address string) { s.network.addTCP(topic, address) }

// NewCertificate returns a self-signed certificate for localhost that is fit for pinning: its
// hash is SHA-256 of Certificate[0].
func NewCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{ // each gets a number of its own: Firefox refuses two of the same issuer and number
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(24 * time.Hour),
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
