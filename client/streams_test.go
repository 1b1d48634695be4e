package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The tests of this file open streams through a real gateway.

const patience = time.Minute

var streamsTopic = wtproto.TopicFromName("streams")

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func startGateway(t *testing.T, cfg server.Config) *servertest.Server {
	t.Helper()
	gw := servertest.NewServer(cfg)
	t.Cleanup(gw.Close)
	return gw
}

// joinWith returns a topic of a new client, which the caller may end before the test does.
func joinWith(t *testing.T, gw *servertest.Server, opts client.JoinOptions) (*client.Topic, *client.Client) {
	t.Helper()
	c, err := client.Dial(limited(t), gw.URL, client.Config{DialTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	top, err := c.Join(limited(t), streamsTopic, opts)
	if err != nil {
		t.Fatal(err)
	}
	return top, c
}

// join is [joinWith] for a client that lasts as long as the test.
func join(t *testing.T, gw *servertest.Server, opts client.JoinOptions) *client.Topic {
	t.Helper()
	top, _ := joinWith(t, gw, opts)
	return top
}

// first returns the first circuit of a topic.
func first(t *testing.T, top *client.Topic) *client.Conn {
	t.Helper()
	conn, err := top.Accept(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if conn.Peer().Further {
		t.Fatalf("the first circuit is one of %+v", conn.Peer())
	}
	return conn
}

// openWelcome opens a stream with a peer, once the gateway has heard that it welcomes them.
func openWelcome(t *testing.T, top *client.Topic, peer client.Peer) *client.Conn {
	t.Helper()
	ctx := limited(t)
	for {
		conn, err := top.Open(ctx, peer)
		if err == nil {
			return conn
		}
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeDeclined || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// echoes serves a listener until it is closed: what comes in goes back, and so does the end.
func echoes(t *testing.T, l net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
}

// exchange writes bytes of its own and reports what does not come back, up to the end.
func exchange(conn *client.Conn, seed int) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	b := bytes.Repeat([]byte(fmt.Sprintf("%d of %p,", seed, conn)), 3000)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(b)
		written <- errors.Join(err, conn.CloseWrite())
	}()
	back, err := io.ReadAll(conn)
	if err := errors.Join(err, <-written); err != nil {
		return err
	}
	if !bytes.Equal(back, b) {
		return fmt.Errorf("%d bytes came back of %d, or others", len(back), len(b))
	}
	return nil
}

// 100 streams at once with a peer of each kind, beside one that nobody reads: bytes and ends are
// right, and nothing is left.
func TestHundredStreams(t *testing.T) {
	const streams = 100
	for name, start := range map[string]func(t *testing.T, gw *servertest.Server){
		"a client": func(t *testing.T, gw *servertest.Server) {
			echoes(t, join(t, gw, client.JoinOptions{Streams: true}).Listen())
		},
		"a native peer": func(t *testing.T, gw *servertest.Server) { echoes(t, gw.Listen(streamsTopic)) },
		"a TCP service": func(t *testing.T, gw *servertest.Server) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			echoes(t, l)
			gw.AddTCP(streamsTopic, l.Addr().String())
		},
	} {
		t.Run(name, func(t *testing.T) {
			gw := startGateway(t, server.Config{})
			start(t, gw)
			top := join(t, gw, client.JoinOptions{})
			one := first(t, top)
			stalled, err := top.Open(limited(t), one.Peer())
			if err != nil {
				t.Fatal(err)
			}
			stuck := make(chan error, 1)
			go func() { // it comes back, and is not read
				_, err := stalled.Write(make([]byte, 16<<20))
				stuck <- err
			}()
			var wg sync.WaitGroup
			for i := range streams {
				wg.Go(func() {
					conn, err := top.Open(limited(t), one.Peer())
					if err == nil {
						err = exchange(conn, i)
					}
					if err != nil {
						t.Errorf("stream %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if peers := top.Peers(); len(peers) != 1 {
				t.Errorf("%d peers, want one", len(peers))
			}
			select {
			case err := <-stuck:
				t.Errorf("16 MiB were written to who does not read: %v", err)
			default:
			}
			stalled.Reset(wtproto.CodeApplication)
			<-stuck
			if err := exchange(one, 7); err != nil {
				t.Errorf("the first circuit: %v", err)
			}
			for e := range top.Events(limited(t)) {
				if s, ok := e.(client.Status); ok && s.Connected == 0 {
					break
				}
			}
			if s := top.Status(); s.Connected != 0 {
				t.Errorf("%d circuits are left", s.Connected)
			}
		})
	}
}

// Both sides open streams with each other at the same time, and the codes of their ends arrive.
func TestStreamsBothWays(t *testing.T) {
	gw := startGateway(t, server.Config{})
	a, b := join(t, gw, client.JoinOptions{Streams: true}), join(t, gw, client.JoinOptions{Streams: true})
	toB, toA := first(t, a).Peer(), first(t, b).Peer()
	const streams = 50
	var wg sync.WaitGroup
	for _, side := range []struct {
		top  *client.Topic
		peer client.Peer
	}{{a, toB}, {b, toA}} {
		for i := range streams {
			wg.Go(func() { // opens, says which code it wants, and gets it
				conn, err := side.top.Open(limited(t), side.peer)
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				conn.SetDeadline(time.Now().Add(patience))
				conn.Write([]byte{byte(i)})
				_, err = conn.Read(make([]byte, 1))
				if e, ok := errors.AsType[*wtproto.Error](err); !ok || !e.Remote || e.Code != wtproto.CodeApplication+wtproto.Code(i) {
					t.Errorf("Read = %v, want the code %v", err, wtproto.CodeApplication+wtproto.Code(i))
				}
			})
			wg.Go(func() {
				conn, err := side.top.Accept(limited(t))
				if err != nil {
					t.Errorf("Accept: %v", err)
					return
				}
				if p := conn.Peer(); !p.Further || p.Initiator {
					t.Errorf("accepted %+v, want a further circuit of the peer", p)
				}
				conn.SetDeadline(time.Now().Add(patience))
				var code [1]byte
				if _, err := io.ReadFull(conn, code[:]); err != nil {
					t.Errorf("Read: %v", err)
				}
				conn.Reset(wtproto.CodeApplication + wtproto.Code(code[0]))
			})
		}
	}
	wg.Wait()
}

// Who does not welcome streams gets none, and may ask for them.
func TestStreamsUnwelcome(t *testing.T) {
	gw := startGateway(t, server.Config{})
	a, b := join(t, gw, client.JoinOptions{}), join(t, gw, client.JoinOptions{})
	toB, toA := first(t, a), first(t, b)
	_, err := a.Open(limited(t), toB.Peer())
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeDeclined || !e.Remote {
		t.Errorf("Open = %v, want DECLINED", err)
	}
	echoes(t, a.Listen()) // from now on a welcomes them
	if err := exchange(openWelcome(t, b, toA.Peer()), 1); err != nil {
		t.Error(err)
	}
	stranger := toB.Peer()
	stranger.ID = make([]byte, 16)
	_, err = a.Open(limited(t), stranger)
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodePeerUnreachable || !e.Remote {
		t.Errorf("Open of a stranger = %v, want PEER_UNREACHABLE", err)
	}
}

// The first circuit may be over for long: a stream with its peer is opened all the same, and a peer
// that closes the first one is not connected again by itself.
func TestOpenAfterFirst(t *testing.T) {
	gw := startGateway(t, server.Config{})
	echoes(t, gw.Listen(streamsTopic))
	top := join(t, gw, client.JoinOptions{})
	one := first(t, top)
	if err := exchange(one, 1); err != nil {
		t.Fatal(err)
	}
	for e := range top.Events(limited(t)) {
		if _, left := e.(client.PeerLeft); left || len(top.Peers()) == 0 {
			break
		}
	}
	conn, err := top.Open(limited(t), one.Peer())
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, 2); err != nil {
		t.Error(err)
	}
}

// A gateway that ends takes along those who wait for it, with a code; and so does the end of the
// client those who ask later, on a busy machine.
func TestGatewayEndsDuringOpen(t *testing.T) {
	gw := startGateway(t, server.Config{})
	peer := gw.Listen(streamsTopic)
	c, err := client.Dial(limited(t), gw.URL, client.Config{NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	top, err := c.Join(limited(t), streamsTopic, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one := first(t, top)
	var asked []<-chan error
	for range 150 { // more than the peer has room for, so that some wait
		done := make(chan error, 1)
		asked = append(asked, done)
		go func() {
			_, err := top.Open(limited(t), one.Peer())
			done <- err
		}()
	}
	peer.Accept()
	gw.Close()
	for _, done := range asked {
		err := <-done
		if e, ok := errors.AsType[*wtproto.Error](err); err != nil && (!ok || e.Code == wtproto.CodeNone) {
			t.Errorf("Open = %v, want a code", err)
		}
	}
}

// An ordinary web server and an ordinary client with their default timeouts work over a topic:
// requests at once, connections that are kept, bodies both ways.
func TestHTTP(t *testing.T) {
	gw := startGateway(t, server.Config{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})}
	l := join(t, gw, client.JoinOptions{Streams: true}).Listen() // from the first JOIN on: nobody is declined
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	top := join(t, gw, client.JoinOptions{})
	one := first(t, top)
	peer := one.Peer()
	one.Close() // on which the server waits for a request
	var opened sync.Map
	browser := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 50,
		MaxConnsPerHost:     50, // else it opens some that it needs no more
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := top.Open(ctx, peer)
			if err == nil {
				opened.Store(conn, nil)
			}
			return conn, err
		},
	}}
	defer browser.CloseIdleConnections()
	for round := range 4 {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(i), byte(round)}, 1000*i)
				resp, err := browser.Post("http://peer/", "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
					t.Errorf("the answer is %q, %v, want %q", got, err, want)
				}
			})
		}
		wg.Wait()
	}
	n := 0
	opened.Range(func(any, any) bool { n++; return true })
	if n == 0 || n > 50 {
		t.Errorf("%d streams for 200 requests, 50 at once, want 50 at most", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	browser.CloseIdleConnections()
	if err := web.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve = %v", err)
	}
}
