//go:build !race

package web

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

var secretSize = flag.Int("secret-size", 32<<20, "bytes that go from a program to a page and back in a secret room")

// member is what a page says of itself in a secret room, and of a peer.
type member struct {
	Key, Binding string
	Shown        string // to people
	Extractable  bool
}

// end is how a sealed circuit has ended for a page.
type end struct {
	Error string
	Code  wtproto.Code
	Ms    int
}

// A page and a program talk in a secret room: each knows the other's key, who has another secret is
// refused, bytes come back as they were sent while the browser holds few of them, either opens
// further streams, and a reset is told.
func TestSecretInBrowsers(t *testing.T) {
	browser.EachPage(t, "secret.html", func(t *testing.T, page *browser.Page) {
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}})
		words, ctx := "correct horse "+t.Name(), t.Context()
		s, err := secret.FromText(words)
		if err != nil {
			t.Fatal(err)
		}
		var me member
		page.Call(t, "enter", map[string]any{"target": browser.Target(g), "text": words}, &me)
		if me.Extractable {
			t.Error("the page's private key can be taken out of the browser")
		}

		stranger := secret.NewRoom(secret.New(), nil)
		other := g.Dial(t, client.Config{})
		conn, err := gateway.Join(t, other, s.Topic(), client.JoinOptions{}).Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stranger.Seal(ctx, conn)
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeProtocol {
			t.Errorf("another secret: %v, want PROTOCOL", err)
		}
		other.Close()
		var refused []end
		gateway.Eventually(t, "the page refuses the stranger", func() bool {
			page.Call(t, "refused", nil, &refused)
			return len(refused) > 0
		})
		if want := []end{{Error: "SecretError", Code: wtproto.CodeProtocol}}; !slices.Equal(refused, want) {
			t.Errorf("the page has refused %v, want %v", refused, want)
		}

		room := secret.NewRoom(s, nil)
		var program *client.Client
		join := func() (*client.Topic, *client.Conn, *secret.Conn, member) {
			t.Helper()
			program = g.Dial(t, client.Config{})
			topic := gateway.Join(t, program, room.Topic(), client.JoinOptions{Streams: true})
			conn, err := topic.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := room.Seal(ctx, conn)
			if err != nil {
				t.Fatal(err)
			}
			var peer member
			page.Call(t, "meet", nil, &peer)
			return topic, conn, sealed, peer
		}
		topic, conn, sealed, peer := join()
		binding := sealed.Binding()
		if sealed.Key().String() != me.Key || peer.Key != room.Key().String() || peer.Binding != hex.EncodeToString(binding[:]) {
			t.Errorf("the page says %+v of itself and %+v of the program, which has the key %v, and says %v of the page and %x", me, peer, room.Key(), sealed.Key(), binding)
		}

		open := func(i int) error {
			c, err := topic.Open(ctx, conn.Peer())
			if err != nil {
				return err
			}
			s, err := room.Seal(ctx, c)
			if err != nil {
				return err
			}
			fmt.Fprintf(s, "from Go %d", i)
			s.CloseWrite()
			if b, err := io.ReadAll(s); err != nil || string(b) != fmt.Sprintf("from Go %d", i) || s.Key() != sealed.Key() {
				return fmt.Errorf("the page has echoed %q, %v", b, err)
			}
			return s.Close()
		}
		ends := make(chan error)
		for i := range 5 {
			go func() { ends <- open(i) }()
		}
		for range 5 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		echoed := page.Begin(t, "openStreams", map[string]any{"n": 5})
		for range 5 {
			c, err := topic.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				s, err := room.Seal(ctx, c)
				if err == nil {
					io.Copy(s, s)
					err = s.Close()
				}
				ends <- err
			}()
		}
		for range 5 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		var texts []string
		if echoed(&texts); !slices.Equal(texts, []string{"stream 0", "stream 1", "stream 2", "stream 3", "stream 4"}) {
			t.Errorf("the program has echoed %q", texts)
		}

		data := random(*secretSize, 5)
		growth := watchMemory(t, page.PID)
		ended := page.Begin(t, "echo", nil)
		go func() {
			_, err := sealed.Write(data)
			ends <- errors.Join(err, sealed.CloseWrite())
		}()
		back, err := io.ReadAll(sealed)
		if err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes came back of %d, %v", len(back), len(data), err)
		}
		if err := <-ends; err != nil {
			t.Error(err)
		}
		var how end
		if ended(&how); how.Code != wtproto.CodeNone || how.Error != "" {
			t.Errorf("the circuit ended for the page with %+v", how)
		}
		grew := growth()
		if grew > 250_000 { // less than all of -secret-size 268435456
			t.Errorf("the browser grew by %d kB, want at most 250 MB", grew)
		}
		t.Logf("%d MiB both ways in %d ms; all of the browser's processes grew by %d kB at most", len(data)>>20, how.Ms, grew)

		program.Close() // the next one is to meet the page
		_, _, sealed, _ = join()
		ended = page.Begin(t, "echo", nil)
		sealed.Reset(0x142)
		if ended(&how); how.Code != 0x142 {
			t.Errorf("after a reset with 0x142 the page is told %+v", how)
		}
	})
}

// Pages of one browser, and of two, talk in a secret room. Pages that are open at the same time
// have a key each, and a page has its key again after it was loaded anew.
func TestSecretBetweenBrowsers(t *testing.T) {
	t.Parallel()
	chromium, firefox := browser.Start(t, "chromium", "secret.html"), browser.Start(t, "firefox", "secret.html")
	g := gateway.Start(t, server.Config{Origins: []string{chromium.Origin, firefox.Origin}})
	enter := func(p *browser.Page) (m member) {
		t.Helper()
		p.Call(t, "enter", map[string]any{"target": browser.Target(g), "text": secret.New().Hex()}, &m)
		return m
	}
	for _, p := range []*browser.Page{chromium, firefox} {
		first, second := enter(p), enter(p.Another(t))
		p.Call(t, "goto", map[string]any{"url": p.URL}, nil)
		again := enter(p)
		if first.Key == second.Key || again != first {
			t.Errorf("two pages of a browser have the keys %s and %s, and the first one has %s after a reload", first.Shown, second.Shown, again.Shown)
		}
		p.Call(t, "goto", map[string]any{"url": p.URL}, nil)
	}
	for _, pair := range [][2]*browser.Page{{chromium, firefox}, {chromium, chromium.Another(t)}, {firefox, firefox.Another(t)}} {
		text := secret.New().Hex()
		var keys, peers [2]member
		for i, p := range pair {
			p.Call(t, "enter", map[string]any{"target": browser.Target(g), "text": text}, &keys[i])
		}
		meets := [2]func(any){pair[0].Begin(t, "meet", nil), pair[1].Begin(t, "meet", nil)}
		for i, meet := range meets {
			meet(&peers[i])
		}
		if peers[0].Key != keys[1].Key || peers[1].Key != keys[0].Key || peers[0].Binding != peers[1].Binding {
			t.Errorf("pages with the keys %s and %s have met %+v and %+v", keys[0].Shown, keys[1].Shown, peers[0], peers[1])
		}
		var sums [2]struct{ Sent, Received string }
		waits := [2]func(any){}
		for i, p := range pair {
			waits[i] = p.Begin(t, "exchange", map[string]any{"size": 4 << 20})
		}
		for i, wait := range waits {
			wait(&sums[i])
		}
		if sums[0].Sent != sums[1].Received || sums[1].Sent != sums[0].Received {
			t.Errorf("what came is not what was sent: %+v", sums)
		}
		for _, p := range pair {
			p.Call(t, "goto", map[string]any{"url": p.URL}, nil)
		}
	}
}
