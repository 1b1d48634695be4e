package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// listen runs swarm listen for the topic "there", and returns where it listens.
func listen(t *testing.T, g *gateway.Gateway, args ...string) (p *process, address string) {
	t.Helper()
	args = append(through(g, "listen", "there", "127.0.0.1:0", "--json"), args...)
	p = swarm(t, open(t), args...)
	gateway.Eventually(t, "the listener", func() bool {
		for _, e := range p.events(t) {
			if e.Event == "listening" {
				address = e.Address
			}
		}
		return address != ""
	})
	return p, address
}

// dial opens a TCP connection that ends with the test.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// A client uses a web server behind forward through listen as if the server were here: any number
// of connections at once, with keep-alive, and more after those were closed.
func TestListenAndForwardCarryHTTP(t *testing.T) {
	const requests = 200
	var met sync.WaitGroup // all requests of a round are in the server at once
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		met.Done()
		met.Wait()
		fmt.Fprintf(w, "%s got %s", r.URL.Path, b)
	}))
	defer web.Close()
	g := gateway.Start(t, server.Config{})
	quic := []string{"--transport", "quic"} // over WebSocket each stream is a handshake, which takes long on a busy machine
	swarm(t, open(t), append(through(g, "forward", "there", web.Listener.Addr().String()), quic...)...)
	p, address := listen(t, g, quic...)
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: requests}, Timeout: gateway.Patience}
	for round := range 2 {
		met.Add(requests)
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				body := strings.Repeat(fmt.Sprint(i, " "), 1000)
				r, err := c.Post(fmt.Sprintf("http://%s/%d", address, i), "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					met.Done()
					return
				}
				defer r.Body.Close()
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != fmt.Sprintf("/%d got %s", i, body) {
					t.Errorf("round %d, request %d: %d bytes, %v", round, i, len(got), err)
				}
			})
		}
		wg.Wait()
	}
	c.CloseIdleConnections()
	gateway.Eventually(t, "the end of all streams", func() bool { return strings.Count(p.out.String(), `"end"`) >= requests })
	p.stop()
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A connection is more than bytes: each end of it passes on by itself, and a reset as well.
func TestListenPassesOnEnds(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	service := gateway.Listen(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		if string(b) == "reset" {
			c.SetLinger(0)
			return
		}
		fmt.Fprintf(c, "%d bytes", len(b))
	})
	swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
	_, address := listen(t, g)
	c := dial(t, address)
	io.WriteString(c, text(1<<20))
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "1048576 bytes" {
		t.Errorf("%q, %v after the half-close", got, err)
	}
	c = dial(t, address)
	io.WriteString(c, "reset")
	c.CloseWrite()
	if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v; want a reset", got, err)
	}
}

func TestListenSaysWhyThereIsNoStream(t *testing.T) {
	for _, c := range []struct {
		name, forward, code string
		after               string // what the peer prints before anybody connects
	}{
		{"the peer takes one stream only", "join", "DECLINED", ""},
		{"the service does not answer", "forward", "PEER_UNREACHABLE", ""},
		{"the service has not answered", "forward", "PEER_UNREACHABLE", "circuit was cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gateway.Start(t, server.Config{})
			args := []string{c.forward, "there"}
			if c.forward == "forward" {
				args = append(args, freeport.Address(t))
			}
			peer := swarm(t, open(t), through(g, args...)...)
			p, address := listen(t, g)
			gateway.Eventually(t, "the peer's line", func() bool { return strings.Contains(peer.errs.String(), c.after) })
			var got []byte
			conn, err := net.Dial("tcp", address)
			if err == nil { // else the reset came before the kernel said that it is connected
				got, err = io.ReadAll(conn)
				conn.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) || len(got) > 0 {
				t.Errorf("%q, %v; want a reset", got, err)
			}
			gateway.Eventually(t, "the code", func() bool {
				for _, e := range p.events(t) {
					if (e.Event == "refused" || e.Event == "end") && e.Code == c.code {
						return true
					}
				}
				return false
			})
		})
	}
}

// A client that connects before anybody is on the topic waits for a peer.
func TestListenWaitsForAPeer(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	p, address := listen(t, g)
	told := func(what string) func() bool {
		return func() bool { return slices.ContainsFunc(p.events(t), func(e event) bool { return e.Event == what }) }
	}
	c := dial(t, address)
	io.WriteString(c, "hello")
	c.CloseWrite()
	gateway.Eventually(t, "a line for who waits", told("waiting"))
	service := gateway.Listen(t, gateway.Echo)
	f := swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	f.stop()
	gateway.Eventually(t, "a line when the peer has left", told("gone"))
}

// If the peer that is used leaves, another one takes its place; with --peer no other one does.
func TestListenGoesToAnotherPeer(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	services := make(map[string]func()) // what ends the peer that says so
	for _, name := range []string{"one", "two"} {
		service := gateway.Listen(t, func(c *net.TCPConn) { io.WriteString(c, name) })
		p := swarm(t, open(t), through(g, "forward", "there", service.Addr().String())...)
		services[name] = func() {
			p.stop()
			p.wait(t)
		}
	}
	p, address := listen(t, g)
	// used returns which peer the listener has used last, and whether that is still there.
	used := func() (id string, there bool) {
		for _, e := range p.events(t) {
			switch {
			case e.Event == "peer":
				id, there = e.Peer.ID, true
			case e.Event == "gone" && e.Peer.ID == id:
				there = false
			case e.Event == "found" && e.Peer.ID == id:
				there = true
			}
		}
		return id, there
	}
	found := func() (n int) {
		for _, e := range p.events(t) {
			if e.Event == "found" {
				n++
			}
		}
		return n
	}
	gateway.Eventually(t, "both peers are found", func() bool { return found() >= 2 })
	ask := func(address string) string {
		b, err := io.ReadAll(dial(t, address))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	first := ask(address)
	for range 5 {
		if again := ask(address); again != first {
			t.Errorf("%q answered, and then %q", first, again)
		}
	}
	services[first]()
	gateway.Eventually(t, "the listener knows that the peer has left", func() bool {
		_, there := used()
		return !there
	})
	if other := ask(address); other == first || services[other] == nil {
		t.Errorf("%q answered after %q was gone", other, first)
	}
}

func TestListenUsesThePeerThatWasNamed(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	ids := make(map[string]string)
	for _, name := range []string{"one", "two", "three"} {
		secret := wtproto.Secret{14: name[1], 15: name[0]}
		id := secret.Endpoint()
		ids[name] = fmt.Sprintf("%x", id[:])
		top := gateway.Join(t, g.Dial(t, client.Config{Secret: &secret}), wtproto.TopicFromName("there"), client.JoinOptions{Streams: true})
		go http.Serve(top.Listen(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }))
	}
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for name, id := range ids {
		_, address := listen(t, g, "--peer", strings.ToUpper(id[:8]))
		for range 3 {
			r, err := c.Get("http://" + address)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if string(got) != name {
				t.Errorf("%q answered, want %q", got, name)
			}
		}
	}
}
