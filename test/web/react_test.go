//go:build !race

package web

import (
	"io"
	"sync/atomic"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Components in the real React, in its StrictMode, see who is on a topic: two of them the same
// peers, by one JOIN. The last one that goes leaves the topic, and one that comes later joins it
// again.
func TestReactInBrowsers(t *testing.T) {
	t.Parallel()
	browser.EachPage(t, "react.html", func(t *testing.T, page *browser.Page) {
		const name = "react"
		var joined, left atomic.Int32
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Observer: &server.Observer{
			Joined: func() { joined.Add(1) },
			Left:   func(wtproto.Code) { left.Add(1) },
		}})
		wants := func(what string, joins, leaves int32) {
			t.Helper()
			gateway.Eventually(t, what, func() bool { return joined.Load() >= joins && left.Load() >= leaves })
			if joined.Load() != joins || left.Load() != leaves {
				t.Errorf("%s: %d JOINs and %d ends, want %d and %d", what, joined.Load(), left.Load(), joins, leaves)
			}
		}
		shows := func(component, text string) {
			t.Helper()
			page.Call(t, "shows", map[string]any{"selector": "#" + component, "text": text}, nil)
		}
		show := func(components ...string) {
			t.Helper()
			page.Call(t, "show", map[string]any{"names": append([]string{}, components...), "topic": name}, nil)
		}
		other := g.Dial(t, client.Config{})
		there := gateway.Join(t, other, wtproto.TopicFromName(name), client.JoinOptions{})
		page.Call(t, "open", map[string]any{"target": browser.Target(g)}, nil)

		show("a", "b")
		shows("a", "1 here")
		shows("b", "1 here")
		var same bool
		if page.Call(t, "same", nil, &same); !same {
			t.Error("two components see different peers")
		}
		first := gateway.Accept(t, there)
		wants("both are shown", 2, 0)

		show("b")
		if _, err := first.Write([]byte("x")); err != nil {
			t.Errorf("the circuit has ended with one of two components: %v", err)
		}
		there.Close()
		first.Reset(wtproto.CodeApplication)
		shows("b", "0 here")
		wants("the other one has left", 2, 1)

		there = gateway.Join(t, other, wtproto.TopicFromName(name), client.JoinOptions{})
		shows("b", "1 here")
		show() // nobody
		wants("the last component is gone", 3, 2)
		first = gateway.Accept(t, there)
		if n, err := first.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("a circuit of nobody's: Read = %d, %v, want EOF", n, err)
		}
		first.Close() // else the circuit lasts while the page waits for its end
		gateway.Eventually(t, "the circuit has ended", func() bool { return g.Topics()[0].Circuits == 0 })
		show("c")
		shows("c", "1 here")
		wants("one comes later", 4, 2)
		page.Call(t, "close", nil, nil)
		var complaints []string
		if page.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("complaints: %q", complaints)
		}
	})
}
