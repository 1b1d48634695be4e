package udp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/internal/netns"
)

const patience = time.Minute // for what takes milliseconds on a machine that is not busy

// connect returns both ends of a QUIC connection between two sockets. to is the address of server.
func connect(t testing.TB, server, client net.PacketConn, to net.Addr) (atServer, atClient *quic.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &quic.Config{
		MaxIdleTimeout:                 patience,
		InitialStreamReceiveWindow:     4 << 20,
		InitialConnectionReceiveWindow: 8 << 20,
	}
	ts, tc := &quic.Transport{Conn: server}, &quic.Transport{Conn: client}
	t.Cleanup(func() {
		ts.Close()
		tc.Close()
	})
	ln, err := ts.Listen(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"test"},
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	atClient, err = tc.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}, config)
	if err != nil {
		t.Fatal(err)
	}
	atServer, err = ln.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return atServer, atClient
}

// exchange sends size bytes each way on one stream, both at the same time, and compares their
// checksums. The first half is sent before midway is called, and the other half once midway calls
// resume.
func exchange(t *testing.T, a, b *quic.Conn, size int64, midway func(resume func())) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sa, err := a.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sa.Write([]byte{0}); err != nil { // shows the stream to the other end
		t.Fatal(err)
	}
	sb, err := b.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(sb, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	type result struct {
		what string
		sum  [sha256.Size]byte
		err  error
	}
	results, halfway, resumed := make(chan result), make(chan struct{}), make(chan struct{})
	for _, s := range []struct {
		name string
		*quic.Stream
		seed byte
	}{{"first", sa, 1}, {"second", sb, 2}} {
		s.SetDeadline(time.Now().Add(patience))
		go func() {
			sum := sha256.New()
			random := io.TeeReader(mathrand.NewChaCha8([32]byte{s.seed}), sum)
			_, err := io.CopyN(s, random, size/2)
			halfway <- struct{}{}
			<-resumed
			if err == nil {
				_, err = io.CopyN(s, random, size-size/2)
			}
			if err == nil {
				err = s.Close()
			}
			results <- result{s.name + " sent", [sha256.Size]byte(sum.Sum(nil)), err}
		}()
		go func() {
			sum := sha256.New()
			_, err := io.Copy(sum, s)
			results <- result{s.name + " received", [sha256.Size]byte(sum.Sum(nil)), err}
		}()
	}
	for range 2 {
		<-halfway
	}
	midway(func() { close(resumed) })
	sums := make(map[string][sha256.Size]byte)
	for range 4 {
		r := <-results
		if r.err != nil {
			t.Errorf("%s: %v", r.what, r.err)
			a.CloseWithError(0, "") // the others need not wait for their deadline
			b.CloseWithError(0, "")
		}
		sums[r.what] = r.sum
	}
	if sums["first sent"] != sums["second received"] || sums["second sent"] != sums["first received"] {
		t.Error("what was received is not what was sent")
	}
}

func TestQUIC(t *testing.T) {
	for _, tc := range []struct{ name, server, client string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1:0"},
		{"IPv6", "[::1]:0", "[::1]:0"},
		{"IPv4 to a socket of both", ":0", "127.0.0.1:0"},
		{"IPv6 to a socket of both", ":0", "[::1]:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, client := listen(t, "udp", tc.server), listen(t, "udp", tc.client)
			var counts [2]counter
			var large [2]atomic.Int64 // sends of more than a packet
			for i, c := range []*Conn{server, client} {
				s := c.reader.(*splitter)
				counts[i].batchReader = s.packets
				s.packets = &counts[i]
				c.send = func(b, oob []byte, addr *net.UDPAddr) (int, int, error) {
					if len(b) > 1500 {
						large[i].Add(1)
					}
					return c.UDPConn.WriteMsgUDP(b, oob, addr)
				}
			}
			to := &net.UDPAddr{IP: addrOf(client).IP, Port: addrOf(server).Port}
			atServer, atClient := connect(t, server, client, to)
			exchange(t, atClient, atServer, 16<<20, func(resume func()) { resume() })
			if !atClient.ConnectionState().GSO || !atServer.ConnectionState().GSO {
				t.Error("quic-go does not use GSO")
			}
			for i, name := range []string{"server", "client"} {
				if large[i].Load() == 0 {
					t.Errorf("%s: no send had more than a packet", name)
				}
				trains, packets := counts[i].trains.Load(), counts[i].packets.Load()
				if packets < 16<<20/1452 || trains >= packets {
					t.Errorf("%s: %d packets came as %d messages, want %d packets at least and fewer messages", name, packets, trains, 16<<20/1452)
				}
			}
		})
	}
}

// watch returns a channel that gets a value once a send of c met an error that c reports as sent.
func watch(c *Conn) <-chan struct{} {
	failed := make(chan struct{}, 1)
	send := c.send
	c.send = func(b, oob []byte, addr *net.UDPAddr) (int, int, error) {
		n, oobn, err := send(b, oob, addr)
		if err != nil && !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, net.ErrClosed) {
			select {
			case failed <- struct{}{}:
			default:
			}
		}
		return n, oobn, err
	}
	return failed
}

func wait(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
}

// quic-go ends a connection at the first error of a send, so an interface that was down for a
// moment ended them all.
func TestConnectionSurvivesErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENETUNREACH, syscall.EPERM} {
		t.Run(errno.Error(), func(t *testing.T) {
			var down atomic.Bool
			var conns [2]*Conn
			var failed [2]<-chan struct{}
			for i := range conns {
				c := listen(t, "udp", "127.0.0.1:0")
				c.send = func(b, oob []byte, addr *net.UDPAddr) (int, int, error) {
					if down.Load() {
						return 0, 0, &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmsg", errno)}
					}
					return c.UDPConn.WriteMsgUDP(b, oob, addr)
				}
				conns[i], failed[i] = c, watch(c)
			}
			a, b := connect(t, conns[0], conns[1], conns[0].LocalAddr())
			exchange(t, a, b, 4<<20, func(resume func()) {
				down.Store(true)
				resume()
				wait(t, "error at the server", failed[0])
				wait(t, "error at the client", failed[1])
				down.Store(false)
			})
		})
	}
}

// The same with a cable, and what a kernel really says while an interface is down or an address is
// missing.
func TestConnectionSurvivesOutage(t *testing.T) {
	const server, client = 0, 1
	for _, family := range []struct {
		name  string
		addrs [2]string
		bits  string
	}{
		{"IPv4", [2]string{"10.72.0.1", "10.72.0.2"}, "/24"},
		{"IPv6", [2]string{"fd72::1", "fd72::2"}, "/64"},
	} {
		for _, tc := range []struct {
			name string
			end  int // which has the trouble
			link bool
		}{
			{"interface of the server", server, true},
			{"interface of the client", client, true},
			{"address of the server", server, false},
			{"address of the client", client, false},
		} {
			t.Run(family.name+"/"+tc.name, func(t *testing.T) {
				ns := [2]*netns.NS{netns.New(t, "server"), netns.New(t, "client")}
				var devs [2]string
				devs[0], devs[1] = netns.Link(t, ns[0], family.addrs[0]+family.bits, ns[1], family.addrs[1]+family.bits)
				var conns [2]*Conn
				for i := range ns {
					ns[i].Do(t, func() { conns[i] = listen(t, "udp", ":0") })
				}
				failed := watch(conns[tc.end])
				to := &net.UDPAddr{IP: net.ParseIP(family.addrs[server]), Port: addrOf(conns[server]).Port}
				a, b := connect(t, conns[server], conns[client], to)

				there, dev, addr := ns[tc.end], devs[tc.end], family.addrs[tc.end]+family.bits
				exchange(t, a, b, 4<<20, func(resume func()) {
					if tc.link {
						there.IP(t, "link", "set", dev, "down")
					} else {
						there.IP(t, "addr", "del", addr, "dev", dev)
					}
					resume()
					wait(t, "error", failed)
					if tc.link {
						there.IP(t, "link", "set", dev, "up")
					}
					if !tc.link || family.name == "IPv6" { // whose addresses go with the interface
						there.Addr(t, addr, dev)
					}
				})
			})
		}
	}
}

// BenchmarkUpload is one stream over loopback; an operation is 16 MiB.
func BenchmarkUpload(b *testing.B) {
	const size = 16 << 20
	standard := func(b *testing.B) net.PacketConn { return withoutGRO(b, listen(b, "udp", "127.0.0.1:0")).UDPConn }
	ours := func(b *testing.B) net.PacketConn { return listen(b, "udp", "127.0.0.1:0") }
	for _, bc := range []struct {
		name           string
		server, client func(*testing.B) net.PacketConn
	}{
		{"net.UDPConn", standard, standard},
		{"GRO at the server", ours, standard},
		{"GRO at both ends", ours, ours},
	} {
		b.Run(bc.name, func(b *testing.B) {
			server, client := bc.server(b), bc.client(b)
			atServer, atClient := connect(b, server, client, server.LocalAddr())
			go func() {
				for {
					s, err := atServer.AcceptStream(context.Background())
					if err != nil {
						return // the connection is closed
					}
					_, _ = io.Copy(io.Discard, s) // the client sees an error too
					s.Close()
				}
			}()
			data := make([]byte, 64<<10)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				s, err := atClient.OpenStreamSync(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				for range size / len(data) {
					if _, err := s.Write(data); err != nil {
						b.Fatal(err)
					}
				}
				s.Close()
				if _, err := io.Copy(io.Discard, s); err != nil { // the server has all
					b.Fatal(err)
				}
			}
		})
	}
}
