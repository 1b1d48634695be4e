package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/internal/udp"
)

// listening is what a server says when it is ready.
type listening struct {
	Addr   string
	Addrs  []string // all, of several services
	Greets string   // of one that sends a byte to who comes
}

// rawProtocol is the ALPN of the servers that have no gateway.
const rawProtocol = "exchange"

// servePeer is the role of TCP services, which are peers behind the gateway.
func servePeer(services int) error {
	var at listening
	var err error
	for range services {
		addr, e := serveTCP(func(c io.ReadWriter) { serve(c) })
		at.Addrs, err = append(at.Addrs, addr), errors.Join(err, e)
	}
	at.Addr = at.Addrs[0]
	greets, e := serveTCP(greet)
	if at.Greets = greets; errors.Join(err, e) != nil {
		return errors.Join(err, e)
	}
	return answerCalls(at, nil)
}

// greet sends a byte, and reads until the end.
func greet(s io.ReadWriter) {
	s.Write([]byte{1})
	io.Copy(io.Discard, s)
}

// serveTCP starts a TCP service on loopback, and returns its address.
func serveTCP(serve func(io.ReadWriter)) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String(), nil
}

// packetConn opens the UDP socket of one end: "stock", as quic-go opens it, or "udp", the one that
// this project's ends have.
func packetConn(kind, addr string) (net.PacketConn, error) {
	if kind == "udp" {
		return udp.Listen("udp", addr)
	}
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP("udp", a)
}

// rawConfig is quic-go's own, with room for the streams of all rows.
func rawConfig() *quic.Config {
	return &quic.Config{MaxIncomingStreams: 1 << 16, KeepAlivePeriod: 10 * time.Second}
}

// serveRaw is the role of a server that speaks QUIC without a gateway.
func serveRaw(host, socket string) error {
	conn, err := packetConn(socket, host+":0")
	if err != nil {
		return err
	}
	cert, err := certificate()
	if err != nil {
		return err
	}
	tr := &quic.Transport{Conn: conn}
	l, err := tr.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{rawProtocol}}, rawConfig())
	if err != nil {
		return err
	}
	ctx := context.Background()
	go func() {
		for {
			conn, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					s, err := conn.AcceptStream(ctx)
					if err != nil {
						return
					}
					go func() {
						serve(s)
						s.Close()
						s.CancelRead(0)
					}()
				}
			}()
		}
	}()
	return answerCalls(listening{Addr: conn.LocalAddr().String()}, nil)
}

// certificate returns one that nobody checks, of the kind that gateways have.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
