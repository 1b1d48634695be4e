package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// joined waits for the next peer that is here and not one of before.
func joined(t *testing.T, top *client.Topic, before ...client.Peer) client.Peer {
	t.Helper()
	for e := range top.Events(limited(t)) {
		if j, ok := e.(client.PeerJoined); ok && !contains(before, j.Peer) {
			return j.Peer
		}
	}
	t.Fatal("nobody has joined")
	return client.Peer{}
}

func contains(peers []client.Peer, p client.Peer) bool {
	for _, q := range peers {
		if q.String() == p.String() {
			return true
		}
	}
	return false
}

// waitLeft waits until p is not here.
func waitLeft(t *testing.T, top *client.Topic, p client.Peer) {
	t.Helper()
	for range top.Events(limited(t)) {
		if !contains(top.Peers(), p) {
			return
		}
	}
	t.Fatalf("%v has not left: %v", p, top.Peers())
}

// serveWeb is an http.Server on a topic, which it leaves as programs do: Shutdown, then the
// client's Close.
func serveWeb(t *testing.T, gw *servertest.Server) (stop func()) {
	t.Helper()
	top, c := joinWith(t, gw, client.JoinOptions{AnnounceOnly: true, Streams: true}) // from the first JOIN on: nobody is declined
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })}
	served := make(chan error, 1)
	l := top.Listen()
	go func() { served <- web.Serve(l) }()
	return func() {
		t.Helper()
		now, cancel := context.WithCancel(t.Context())
		cancel()
		if err := web.Shutdown(now); err != nil && !errors.Is(err, context.Canceled) { // it would wait for first circuits
			t.Error(err)
		}
		web.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("Serve = %v, want http.ErrServerClosed", err)
		}
		c.Close()
	}
}

// A client that only opened streams never accepted the first one with a peer, and so never learned
// that its server had gone: the server stayed in Peers, and the one that came instead of it after
// that one.
func TestServerThatLeavesIsGone(t *testing.T) {
	gw := startGateway(t, server.Config{})
	stop := serveWeb(t, gw)
	top := join(t, gw, client.JoinOptions{LookUpOnly: true})
	before := joined(t, top)
	stop()
	waitLeft(t, top, before)
	if _, err := top.Open(limited(t), before); err == nil {
		t.Error("Open reaches a peer that has gone")
	}
	stop = serveWeb(t, gw)
	defer stop()
	after := joined(t, top, before)
	if peers := top.Peers(); len(peers) != 1 || peers[0].String() != after.String() {
		t.Errorf("Peers = %v, want %v only", peers, after)
	}
}

// A program that had closed the first circuit was told that the peer had left, though streams with
// it could be opened as before.
func TestOwnCloseIsNotAPeersLeave(t *testing.T) {
	gw := startGateway(t, server.Config{})
	stop := serveWeb(t, gw)
	top := join(t, gw, client.JoinOptions{LookUpOnly: true})
	one := first(t, top)
	one.Close()
	peers := func(when string) {
		t.Helper()
		if got := top.Peers(); len(got) != 1 {
			t.Fatalf("Peers = %v %s", got, when)
		}
	}
	for range top.Events(limited(t)) {
		if s := top.Status(); s.Known > 0 && s.Connected == 0 {
			break
		}
	}
	peers("after this end has closed the first circuit")
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return top.Open(ctx, one.Peer())
	}}}
	for range 2 {
		get(t, web)
		peers("while there is a stream")
		web.CloseIdleConnections()
		peers("after this end has closed all streams")
	}
	stop()
	for {
		_, err := top.Open(limited(t), one.Peer())
		if e, ok := errors.AsType[*wtproto.Error](err); ok && (e.Code == wtproto.CodePeerUnreachable || e.Code == wtproto.CodePeerGone) {
			break
		}
	}
	waitLeft(t, top, one.Peer()) // once the streams that this end has closed have ended
}

func get(t *testing.T, web *http.Client) {
	t.Helper()
	resp, err := web.Get("http://shop/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
		t.Fatalf("got %q, %v", b, err)
	}
}

// A program could not say who it is: Endpoint is what others see as the end of its id.
func TestEndpointIsWhatOthersSee(t *testing.T) {
	gw := startGateway(t, server.Config{})
	top := join(t, gw, client.JoinOptions{})
	_, c := joinWith(t, gw, client.JoinOptions{})
	me := c.Endpoint()
	if p := joined(t, top); string(p.ID) != string(me[:]) {
		t.Errorf("others see %x, Endpoint is %v", p.ID, me)
	}
}
