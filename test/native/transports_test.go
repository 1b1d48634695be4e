//go:build !race

package native

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// exchangeSize is how many bytes each of two sends to the other.
const exchangeSize = 8 << 20

// place is where two meet: a topic of a gateway, which is that of a room if the circuit is to be
// sealed.
type place struct {
	gateway *gateway.Gateway
	info    string // URL of the gateway's info document's site
	seed    string // of the private DHT that the gateway is in
	name    string
	topic   wtproto.Topic
	room    *secret.Secret // nil if the circuit is plain
}

// exchanged is what one of two says of an exchange. Fields are as in exchange.html.
type exchanged struct {
	Sent, Got string // SHA-256 of what it sent, and of what came
	N         int    // bytes that came
	Transport string // of its session, empty if it has none
}

// party is somebody who can be one of two.
type party struct {
	name      string
	transport string // that it has to say it was; empty for those without a session
	plainOnly bool   // it cannot seal circuits
	// exchange goes to a place, where another one comes as well, and exchanges bytes with it. The
	// parties part when both are done.
	exchange func(t *testing.T, p *place) exchanged
}

// Everybody exchanges bytes with everybody, plain and sealed: Go programs and pages in each
// browser over each transport, native peers and TCP services. The only pairs left out are those
// that need no gateway, and sealed circuits with a TCP service, which knows nothing of secrets.
func TestTransports(t *testing.T) {
	seed := gateway.Seed(t)
	pages := map[string][2]*browser.Page{}
	cfg := server.Config{Networks: []discovery.Network{gateway.Host(t, true, seed)}}
	for _, name := range []string{"chromium", "firefox"} {
		pages[name] = [2]*browser.Page{browser.Start(t, name, "exchange.html"), browser.Start(t, name, "exchange.html")}
		cfg.Origins = append(cfg.Origins, pages[name][0].Origin)
	}
	g := gateway.Start(t, cfg)
	site := g.InfoServer()
	t.Cleanup(site.Close)

	// sides returns what is on one side of the pairs: two of a kind need two pages.
	sides := func(n int) []party {
		return []party{
			goParty(client.TransportQUIC),
			goParty(client.TransportWebSocket),
			pageParty(pages["chromium"][n], "Chromium", "webtransport"),
			pageParty(pages["chromium"][n], "Chromium", "websocket"),
			pageParty(pages["firefox"][n], "Firefox", "webtransport"),
			pageParty(pages["firefox"][n], "Firefox", "websocket"),
			{name: "native peer", exchange: nativeExchange},
			{name: "TCP service", exchange: serviceExchange, plainOnly: true},
		}
	}
	mine, others := sides(0), sides(1)
	table := newExchangeTable(mine)
	for i, a := range mine {
		for j, b := range others[i:] {
			if a.transport == "" && b.transport == "" {
				continue
			}
			for _, sealed := range []bool{false, true} {
				if sealed && (a.plainOnly || b.plainOnly) {
					continue
				}
				name := fmt.Sprintf("%s and %s", a.name, b.name)
				if sealed {
					name += " in a secret room"
				}
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
					p := &place{gateway: g, info: site.URL, seed: seed, name: name, topic: wtproto.TopicFromName(name)}
					if sealed {
						s := secret.New()
						p.room, p.topic = &s, s.Topic()
					}
					var left, right exchanged
					var wg sync.WaitGroup
					wg.Go(func() { left = a.exchange(t, p) })
					wg.Go(func() { right = b.exchange(t, p) })
					wg.Wait()
					ok := left.arrived(t, b.name, right) && right.arrived(t, a.name, left)
					if left.Transport != a.transport || right.Transport != b.transport {
						t.Errorf("their transports are %q and %q, want %q and %q", left.Transport, right.Transport, a.transport, b.transport)
						ok = false
					}
					table.note(i, i+j, sealed, ok)
				})
			}
		}
	}
	t.Logf("%d bytes each way, plain and sealed:\n%s", exchangeSize, table)
}

// arrived reports whether what e sent is what to got.
func (e exchanged) arrived(t *testing.T, to string, got exchanged) bool {
	if got.N != exchangeSize || got.Got != e.Sent || e.Sent == "" {
		t.Errorf("%s got %d bytes with the hash %q, want %d with %q", to, got.N, got.Got, exchangeSize, e.Sent)
		return false
	}
	return true
}

// exchangeBytes sends random bytes to the other end of c, and reads what comes.
func exchangeBytes(c interface {
	io.ReadWriter
	CloseWrite() error
},
) (exchanged, error) {
	data := make([]byte, exchangeSize)
	rand.Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	var got bytes.Buffer
	_, err := io.Copy(&got, c)
	hash := func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	return exchanged{Sent: hash(data), Got: hash(got.Bytes()), N: got.Len()}, errors.Join(err, <-sent)
}

// goParty is a Go program over a transport.
func goParty(transport string) party {
	return party{name: "Go over " + transport, transport: transport, exchange: func(t *testing.T, p *place) (e exchanged) {
		c := p.gateway.Dial(t, client.Config{Transports: []string{transport}})
		var err error
		if p.room == nil {
			e, err = exchangeBytes(gateway.Accept(t, gateway.Join(t, c, p.topic, client.JoinOptions{})))
		} else {
			e, err = exchangeSealed(t, c, *p.room)
		}
		if err != nil {
			t.Errorf("Go over %s: %v", transport, err)
		}
		e.Transport = c.Session().Transport
		return e
	}}
}

// exchangeSealed exchanges bytes with a peer of a room.
func exchangeSealed(t *testing.T, c *client.Client, s secret.Secret) (exchanged, error) {
	topic, err := secret.NewRoom(s, nil).Join(gateway.Context(t), c, client.JoinOptions{})
	if err != nil {
		return exchanged{}, err
	}
	conn, err := topic.Accept(gateway.Context(t))
	if err != nil {
		return exchanged{}, err
	}
	return exchangeBytes(conn)
}

// pageParty is a page over a transport.
func pageParty(page *browser.Page, name, transport string) party {
	return party{name: name + " over " + transport, transport: transport, exchange: func(t *testing.T, p *place) (e exchanged) {
		args := map[string]any{"url": p.info, "transport": transport, "topic": p.name, "size": exchangeSize}
		if p.room != nil {
			args["room"] = p.room.Hex()
		}
		t.Cleanup(func() { page.Call(t, "part", nil, nil) })
		page.Call(t, "exchange", args, &e)
		return e
	}}
}

// nativeExchange is what a native peer does.
func nativeExchange(t *testing.T, p *place) (e exchanged) {
	h := gateway.Host(t, false, p.seed)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); h.Close() })
	c, err := nativeCircuit(ctx, h, p.topic)
	if err == nil && p.room == nil {
		e, err = exchangeBytes(c)
	} else if err == nil {
		var sealed *secret.Conn
		if sealed, err = secret.NewRoom(*p.room, nil).SealCircuit(gateway.Context(t), c, false); err == nil {
			e, err = exchangeBytes(sealed)
		}
	}
	if err != nil {
		t.Errorf("the native peer: %v", err)
	}
	return e
}

// nativeCircuit returns the first circuit that somebody opens with a native peer.
func nativeCircuit(ctx context.Context, h *p2p.Host, topic wtproto.Topic) (discovery.Stream, error) {
	for s, err := range h.Join(ctx, topic, discovery.Native()) {
		if err == nil && s.Inbound != nil {
			return s.Inbound.Accept()
		}
	}
	return nil, context.Cause(ctx)
}

// serviceExchange is what a TCP service does.
func serviceExchange(t *testing.T, p *place) (e exchanged) {
	done := make(chan struct{})
	var once sync.Once // the gateway may connect anew after the end
	listener := gateway.Listen(t, func(c *net.TCPConn) {
		once.Do(func() {
			defer close(done)
			var err error
			if e, err = exchangeBytes(c); err != nil {
				t.Errorf("the TCP service: %v", err)
			}
		})
	})
	p.gateway.AddTCP(p.topic, listener.Addr().String())
	select {
	case <-done:
	case <-gateway.Context(t).Done():
		t.Error("nobody has exchanged bytes with the TCP service")
	}
	return e
}

// exchangeTable says which pairs have exchanged bytes.
type exchangeTable struct {
	names []string
	cells map[[2]int][2]string // by pair; plain and sealed
}

func newExchangeTable(parties []party) *exchangeTable {
	table := &exchangeTable{cells: make(map[[2]int][2]string)}
	for _, p := range parties {
		table.names = append(table.names, p.name)
	}
	return table
}

// note notes how an exchange between two went.
func (e *exchangeTable) note(a, b int, sealed, ok bool) {
	mark := "failed"
	if ok {
		mark = "ok"
	}
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		cell := e.cells[pair]
		if sealed {
			cell[1] = mark
		} else {
			cell[0] = mark
		}
		e.cells[pair] = cell
	}
}

// String returns the table, with two marks in each cell: plain and sealed. A bar is a pair that
// was left out.
func (e *exchangeTable) String() string {
	const width = 15
	var b strings.Builder
	line := func(first string, cell func(i int) string) {
		fmt.Fprintf(&b, "%-28s", first)
		for i := range e.names {
			fmt.Fprintf(&b, "%-*s", width, cell(i))
		}
		b.WriteByte('\n')
	}
	line("", func(i int) string { return strings.Fields(e.names[i])[0] })
	line("", func(i int) string { f := strings.Fields(e.names[i]); return f[len(f)-1] })
	for row, name := range e.names {
		line(name, func(column int) string {
			cell := e.cells[[2]int{row, column}]
			for i, mark := range cell {
				if mark == "" {
					cell[i] = "-"
				}
			}
			return strings.Join(cell[:], " ")
		})
	}
	return b.String()
}
