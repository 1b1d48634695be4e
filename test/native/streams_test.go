//go:build !race

package native

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Two open a hundred streams with each other at once, either of them, beside one that is not read.
// The first byte of a stream says what its opener wants of the other side:
//
//	e  all that comes sent back as it comes, and then the end
//	h  the same, but nothing before the end of what comes
//	x  a reset with askedCode
//	w  more than anybody has room for; the opener reads a byte of it when all others are done, and
//	   resets it with askerCode
const (
	streamsAtOnce = 100
	streamSize    = 48 << 10 // more than the credit that a circuit of a page starts with
	streamUnread  = 16 << 20 // of the one that is not read
	askedCode     = wtproto.CodeApplication + 777
	askerCode     = wtproto.CodeApplication + 778
)

// streamsOpened is what one side says of the streams that it has opened. Fields are as in
// client.html and peer.mjs.
type streamsOpened struct {
	Echoed  int            // got their bytes back, and the end
	Halves  int            // got them back after their own end
	Codes   []wtproto.Code // of those that the other side has reset
	Stalled bool           // the one that was not read could be read after all
	Failed  []string       // some of what went wrong
}

// streamsWant is what they have to say, if codes arrive as code.
func streamsWant(code wtproto.Code) streamsOpened {
	return streamsOpened{Echoed: 80, Halves: 10, Codes: slices.Repeat([]wtproto.Code{code}, 10), Stalled: true}
}

// streamsSide is one of two who open streams with each other. It serves those of the other side
// from its start.
type streamsSide interface {
	// hundred opens streams. If the side cannot do that, it is not called.
	hundred(t *testing.T) streamsOpened
	// unread returns what the stream ended with that the other side did not read.
	unread(t *testing.T) wtproto.Code
}

// streamsPeer is somebody to open streams with.
type streamsPeer struct {
	name string
	// start puts it on a topic, and returns a gateway through which others meet it.
	start func(t *testing.T, cfg server.Config, topic wtproto.Topic) (*gateway.Gateway, streamsSide)
	// opens is not set for who takes streams only: a TCP service knows nothing of streams, and
	// what stands behind swarm peer is one.
	opens bool
	// asked and asker are what arrives of askedCode and of askerCode, and opened what arrives of
	// askedCode if it is the peer that gets the reset.
	asked, asker, opened wtproto.Code
}

// Whoever a client meets, by whatever way, the two open a hundred streams at once, from either
// side. All bytes come back, half-closes and codes pass, and one that is not read stalls none of
// the others. The clients are a Go program and a page in each browser.
func TestStreams(t *testing.T) {
	type start func(t *testing.T, g *gateway.Gateway, topic string) streamsSide
	rows := func(t *testing.T, origin string, join start) {
		for _, peer := range streamsPeers {
			t.Run(peer.name, func(t *testing.T) {
				topic := strings.ReplaceAll(t.Name(), "/", " ")
				cfg := server.Config{}
				if origin != "" {
					cfg.Origins = []string{origin}
				}
				g, other := peer.start(t, cfg, wtproto.TopicFromName(topic))
				peer.exchange(t, join(t, g, topic), other)
				gateway.Eventually(t, "all but the first circuit end", func() bool { return g.Topics()[0].Circuits <= 1 })
			})
		}
	}
	t.Run("Go", func(t *testing.T) {
		rows(t, "", func(t *testing.T, g *gateway.Gateway, topic string) streamsSide {
			return newGoStreams(t, gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName(topic), client.JoinOptions{Streams: true}))
		})
	})
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			page := browser.Start(t, name, "client.html")
			rows(t, page.Origin, func(t *testing.T, g *gateway.Gateway, topic string) streamsSide {
				tab := page.Another(t)
				t.Cleanup(func() { tab.Call(t, "close", nil, nil) })
				tab.Open(t, browser.Target(g))
				tab.Call(t, "beginStreams", map[string]any{"topic": topic, "code": uint32(askedCode), "unread": streamUnread}, nil)
				return pageStreams{tab}
			})
		})
	}
}

// exchange has both sides open streams at the same time.
func (p streamsPeer) exchange(t *testing.T, mine, other streamsSide) {
	check := func(who string, got, want streamsOpened) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s says of its streams %+v, want %+v", who, got, want)
		}
	}
	var wg sync.WaitGroup
	if p.opens {
		wg.Go(func() { check("the peer", other.hundred(t), streamsWant(p.opened)) })
	}
	check("the client", mine.hundred(t), streamsWant(p.asked))
	wg.Wait()
	if got := other.unread(t); got != p.asker {
		t.Errorf("the peer's stream that the client did not read ended with %v, want %v", got, p.asker)
	}
	if !p.opens {
		return
	}
	want := askerCode
	if p.asker == wtproto.CodePeerReset { // it says no codes
		want = p.asker
	}
	if got := mine.unread(t); got != want {
		t.Errorf("the client's stream that the peer did not read ended with %v, want %v", got, want)
	}
}

// pageStreams is the side of a page.
type pageStreams struct{ *browser.Page }

func (p pageStreams) hundred(t *testing.T) (got streamsOpened) {
	p.Call(t, "hundredStreams", map[string]any{"n": streamsAtOnce, "size": streamSize, "code": uint32(askerCode)}, &got)
	return got
}

func (p pageStreams) unread(t *testing.T) wtproto.Code {
	var end browser.Outcome
	p.Call(t, "unreadStream", nil, &end)
	if end.Error != "" {
		t.Errorf("the page's stream ended with %s", end.Error)
	}
	return end.Code
}
