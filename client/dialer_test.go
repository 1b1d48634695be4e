package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway on this machine is known by the URL of its listener for development.
func TestDialByInfoDocument(t *testing.T) {
	gw := startGateway(t, server.Config{})
	info := gw.InfoServer()
	defer info.Close()
	c, err := client.Dial(limited(t), "http://127.0.0.1:1", client.Config{Gateways: []string{info.URL}})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := client.Dial(limited(t), "http://127.0.0.1:1", client.Config{}); !errors.Is(err, context.Canceled) && err == nil {
		t.Error("Dial found a gateway where there is none")
	}
}

// A gateway that was restarted without a state directory has another certificate, and here another
// port. A client that was given the URL of its info document never came back.
func TestRestartedGatewayIsFoundByItsDocument(t *testing.T) {
	var handler atomic.Pointer[http.Handler]
	start := func() *servertest.Server {
		gw := startGateway(t, server.Config{})
		info := gw.InfoServer()
		t.Cleanup(info.Close)
		handler.Store(&info.Config.Handler)
		return gw
	}
	before := start()
	info := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	defer info.Close()
	c, err := client.Dial(limited(t), info.URL, client.Config{Transports: []string{client.TransportQUIC}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start()
	before.Close()
	sessions := 0
	for e := range c.Events(limited(t)) {
		if _, ok := e.(client.Connected); ok {
			sessions++
		}
		if sessions == 2 {
			return
		}
	}
	t.Errorf("%d sessions, want another one with the gateway that was restarted", sessions)
}

// One line makes an http.Client of a topic: it waits for a server, stays with it, and goes to the
// next one when that has gone. Nobody accepts.
func TestDialContext(t *testing.T) {
	gw := startGateway(t, server.Config{})
	top := join(t, gw, client.JoinOptions{LookUpOnly: true})
	web := &http.Client{Transport: &http.Transport{DialContext: top.DialContext, MaxIdleConnsPerHost: 50}}
	defer web.CloseIdleConnections()
	early := make(chan error, 1)
	go func() {
		resp, err := web.Get("http://shop/")
		if err == nil {
			resp.Body.Close()
		}
		early <- err
	}()
	stop := serveWeb(t, gw)
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { get(t, web) })
		}
		wg.Wait()
		before := top.Peers()
		next := serveWeb(t, gw)
		joined(t, top, before...) // who came last is asked first: nobody asks the server that goes
		web.CloseIdleConnections()
		stop()
		stop = next
	}
	stop()
}

// cuttable is a socket that can be cut off: what crosses it is lost then.
type cuttable struct {
	net.PacketConn
	cut atomic.Bool
}

func (c *cuttable) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.cut.Load() {
		return len(p), nil
	}
	return c.PacketConn.WriteTo(p, to)
}

func (c *cuttable) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if err != nil || !c.cut.Load() {
			return n, from, err
		}
	}
}

// A server crashed, and another one was started instead of it. The gateway did not know yet, so
// some clients opened streams with the one that had crashed, and hung.
func TestDialContextAfterACrash(t *testing.T) {
	gw := startGateway(t, server.Config{})
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket := &cuttable{PacketConn: udp}
	crashes, err := client.Dial(limited(t), gw.URL, client.Config{
		NoReconnect:  true,
		Transports:   []string{client.TransportQUIC},
		ListenPacket: func() (net.PacketConn, error) { return socket, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer crashes.Close()
	old, err := crashes.Join(limited(t), streamsTopic, client.JoinOptions{AnnounceOnly: true, Streams: true})
	if err != nil {
		t.Fatal(err)
	}
	l := old.Listen()
	defer l.Close()
	web := &http.Server{Handler: http.NotFoundHandler()}
	go web.Serve(l)
	defer web.Close()

	top := join(t, gw, client.JoinOptions{LookUpOnly: true})
	dead := joined(t, top)
	conn, err := top.DialContext(limited(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket.cut.Store(true)
	defer serveWeb(t, gw)()
	joined(t, top, dead)
	get(t, &http.Client{Transport: &http.Transport{DialContext: top.DialContext, DisableKeepAlives: true}})
}

// A peer that takes no streams is passed over. If there is no other one, that is the error.
func TestDialContextDeclined(t *testing.T) {
	gw := startGateway(t, server.Config{})
	top := join(t, gw, client.JoinOptions{LookUpOnly: true})
	join(t, gw, client.JoinOptions{AnnounceOnly: true})
	_, err := top.DialContext(limited(t), "tcp", "shop:80")
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeDeclined {
		t.Errorf("DialContext = %v, want DECLINED", err)
	}
	before := top.Peers()
	defer serveWeb(t, gw)()
	joined(t, top, before...)
	conn, err := top.DialContext(limited(t), "tcp", "shop:80")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("enough"))
	defer cancel()
	alone := join(t, gw, client.JoinOptions{Networks: []string{"test"}})
	_, err = alone.DialContext(ctx, "tcp", "shop:80")
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodePeerUnreachable || !errors.Is(err, context.Cause(ctx)) {
		t.Errorf("DialContext where nobody is = %v, want PEER_UNREACHABLE and ctx's cause", err)
	}
	alone.Close()
	if _, err := alone.DialContext(limited(t), "tcp", "shop:80"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("DialContext after Close = %v, want net.ErrClosed", err)
	}
}

// Whoever accepts gets the first circuits, before DialContext and after it.
func TestDialContextBesideAccept(t *testing.T) {
	gw := startGateway(t, server.Config{})
	echoes(t, gw.Listen(streamsTopic))
	top := join(t, gw, client.JoinOptions{})
	one := first(t, top)
	conn, err := top.DialContext(limited(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Conn{one, conn.(*client.Conn)} {
		if err := exchange(c, 1); err != nil {
			t.Error(err)
		}
	}
	echoes(t, gw.Listen(streamsTopic))
	if err := exchange(first(t, top), 2); err != nil {
		t.Error(err)
	}
}

// After a listener's Close peers are told at once that nobody takes streams. Once their streams
// waited, and failed seconds later.
func TestListenerClosed(t *testing.T) {
	for name, opts := range map[string]client.JoinOptions{"by Listen": {}, "by option": {Streams: true}} {
		t.Run(name, func(t *testing.T) {
			gw := startGateway(t, server.Config{})
			top := join(t, gw, opts)
			l := top.Listen()
			other := join(t, gw, client.JoinOptions{})
			peer := joined(t, other)
			for _, further := range []bool{false, true} {
				conn, err := l.Accept()
				if err != nil || conn.(*client.Conn).Peer().Further != further {
					t.Fatalf("Accept = %v, %v, want further: %v", conn, err, further)
				}
				if further {
					break
				}
				openWelcome(t, other, peer)
			}
			waiting, err := other.Open(limited(t), peer)
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			l.Close()
			_, err = waiting.Read(make([]byte, 1)) // it was not accepted
			if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeDeclined {
				t.Errorf("Read = %v, want DECLINED", err)
			}
			declined := func() bool {
				conn, err := other.Open(limited(t), peer)
				if err == nil { // the JOIN is on its way
					_, err = io.ReadAll(conn)
				}
				e, ok := errors.AsType[*wtproto.Error](err)
				return ok && e.Code == wtproto.CodeDeclined
			}
			for range 3 {
				if !declined() {
					t.Error("a stream was not declined after Close")
				}
			}
			if opts.Streams { // the program accepts itself
				accepted := make(chan error, 1)
				go func() {
					_, err := top.Accept(limited(t))
					accepted <- err
				}()
				for declined := true; declined; {
					conn, err := other.Open(limited(t), peer)
					if e, ok := errors.AsType[*wtproto.Error](err); err != nil && (!ok || e.Code != wtproto.CodeDeclined) {
						t.Fatal(err)
					} else if err == nil {
						declined = false
						conn.Close()
					}
				}
				if err := <-accepted; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
