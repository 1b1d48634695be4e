package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Handshake is how a TLS handshake with a gateway went.
type Handshake struct {
	Certificate *x509.Certificate // that the gateway showed; nil if it showed none
	ALPN        string            // the protocol that both agreed on; empty if none, or without a handshake
	Took        time.Duration     // with that of TCP or QUIC
	Address     string            // host:port of the gateway that it was with; empty without a handshake
}

// ParseGateway reads an address of a gateway in a form that [Dial] takes, but for that of an info
// document, which [ReadInfo] finds a gateway by. The result has neither a topic nor a secret.
func ParseGateway(address string) (wtproto.GatewayURL, error) {
	g, err := parseGateway(address)
	if err != nil {
		return wtproto.GatewayURL{}, fmt.Errorf("client: %w", err)
	}
	port, err := strconv.ParseUint(g.port, 10, 16)
	if err != nil {
		return wtproto.GatewayURL{}, fmt.Errorf("client: invalid port %q", g.port)
	}
	return wtproto.GatewayURL{Host: g.host, Port: uint16(port), Hashes: g.pinned}, nil
}

// TryHandshake has a TLS handshake with the gateway at u, as a session over a transport begins with
// one, and closes the connection. With TransportWebSocket it does not go through a proxy. It is for
// programs that find out why there is no session. If the certificate is not trusted, it is in the
// result nevertheless.
func TryHandshake(ctx context.Context, u wtproto.GatewayURL, transport string) (h Handshake, err error) {
	cfg := Config{}.withDefaults()
	trust := tlsConfig(&cfg, u.Host, u.Hashes)
	var mu sync.Mutex // addresses are tried beside each other
	verify := trust.VerifyConnection
	trust.VerifyConnection = func(state tls.ConnectionState) error {
		mu.Lock()
		h.Certificate, h.ALPN = state.PeerCertificates[0], state.NegotiatedProtocol
		mu.Unlock()
		if verify == nil {
			return nil
		}
		return verify(state)
	}
	began := time.Now()
	var with net.Addr
	if transport == TransportQUIC {
		with, err = tryQUIC(ctx, &cfg, u, trust)
	} else {
		with, err = tryTCP(ctx, u, newWSDialer("", trust, cfg.dialTCP).tls)
	}
	mu.Lock()
	defer mu.Unlock()
	h.Took = time.Since(began)
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(e.UnverifiedCertificates) > 0 {
		h.Certificate = e.UnverifiedCertificates[0]
	}
	if err != nil {
		return h, fmt.Errorf("client: handshake: %w", err)
	}
	h.Address = with.String()
	return h, nil
}

// tryQUIC opens a connection over QUIC and closes it. The address is the gateway's.
func tryQUIC(ctx context.Context, cfg *Config, u wtproto.GatewayURL, trust *tls.Config) (net.Addr, error) {
	host, port, err := net.SplitHostPort(u.Address())
	if err != nil {
		return nil, err
	}
	l, err := dialQUICLink(ctx, cfg, &gateway{host: host, port: port}, trust)
	if err != nil {
		return nil, err
	}
	l.close(wtproto.CodeNone, "")
	return l.(*quicLink).conn.RemoteAddr(), nil
}

// tryTCP opens a TLS connection and closes it. The address is the gateway's.
func tryTCP(ctx context.Context, u wtproto.GatewayURL, trust *tls.Config) (net.Addr, error) {
	conn, err := (&tls.Dialer{Config: trust}).DialContext(ctx, "tcp", u.Address())
	if err != nil {
		return nil, err
	}
	return conn.RemoteAddr(), conn.Close()
}
