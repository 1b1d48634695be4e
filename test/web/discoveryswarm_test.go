//go:build !race

package web

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/node"
	"github.com/swarmgate/swarmgate/wtproto"
)

// archive is what a page, or a peer, says of the archive that it holds.
type archive struct{ Key, DiscoveryKey string }

// oldEvent is an event that an old program saw.
type oldEvent struct {
	Event, Type, Channel, Host, ID, Network, Error string
	Port                                           int
	Initiator                                      bool
}

// oldProgram is a program of the old world in a page of old.html.
type oldProgram struct {
	t    *testing.T
	page *browser.Page
	name string
}

// start starts the program, and waits until it has read a file of an archive, which may be its own.
func (p oldProgram) start(gatewayURL string, a archive, file, want string, options map[string]any) archive {
	p.t.Helper()
	args := map[string]any{"program": p.name, "gateway": gatewayURL, "key": a.Key, "file": file, "options": options}
	var got struct {
		archive
		Text string
	}
	if p.page.Call(p.t, "start", args, &got); got.Text != want {
		p.t.Fatalf("%s is %q, want %q", file, got.Text, want)
	}
	return got.archive
}

// reads waits until the program has read another file.
func (p oldProgram) reads(file, want string) {
	p.t.Helper()
	var got struct{ Text string }
	if p.page.Call(p.t, "read", map[string]any{"program": p.name, "file": file}, &got); got.Text != want {
		p.t.Fatalf("%s is %q, want %q", file, got.Text, want)
	}
}

// report returns the events with a connection, and how many connections there are.
func (p oldProgram) report(a archive, network string) (events []oldEvent, count int) {
	p.t.Helper()
	var r struct {
		Events []oldEvent
		Count  int
	}
	p.page.Call(p.t, "report", map[string]any{"program": p.name}, &r)
	for _, e := range r.Events {
		switch {
		case e.Error != "":
			p.t.Errorf("an error: %+v", e)
		case e.Type == "":
		case e.Type != "proxy" || e.Channel != a.DiscoveryKey || e.Host == "" || e.Port != -1 || e.Network != network:
			p.t.Errorf("an event with %+v", e)
		default:
			events = append(events, e)
		}
	}
	return events, r.Count
}

func (p oldProgram) stop() {
	p.t.Helper()
	p.page.Call(p.t, "stop", map[string]any{"program": p.name}, nil)
}

// oldWorld returns the address of a dns-discovery server that is the npm one, and the networks of
// a gateway that looks there for peers.
func oldWorld(t *testing.T) (dns string, networks []discovery.Network) {
	t.Helper()
	port := freeport.Ports(t, 1)
	node.Start(t, "find.mjs", "dns", fmt.Sprintf(`{"listen":%d,"domain":"dat.local","multicast":false,"ttl":60}`, port)).Await("ready", nil)
	dns = fmt.Sprintf("127.0.0.1:%d", port)
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	host, err := dat.Listen(dat.Config{Policy: policy, Bootstrap: []string{}, DNS: []string{dns}, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return dns, host.Networks()
}

// printed returns the gateway URL that a gateway prints.
func printed(g *gateway.Gateway) string {
	return strings.Replace(g.URL, "https:", "swarmgate:", 1) + "/?h=" + hex.EncodeToString(g.Hash[:])
}

// noComplaints fails the test if the page has complained.
func noComplaints(t *testing.T, page *browser.Page) {
	t.Helper()
	var complaints []string
	if page.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
		t.Errorf("complaints: %q", complaints)
	}
}

// Old programs, unchanged but for a bundler's alias, find a real hyperdiscovery peer through a
// gateway, read its archive and see it write. Each has one connection, and leaves nothing behind.
func TestOldProgramsInChromium(t *testing.T) {
	t.Parallel()
	dns, networks := oldWorld(t)
	peer := node.Start(t, "old.js", "archive", dns)
	var a archive
	peer.Await("ready", &a)
	write := func(name, text string) {
		peer.Do(map[string]any{"write": name, "text": text})
		peer.Await("written", nil)
	}
	write("/dat.json", `{"title":"old"}`)
	page := browser.Start(t, "chromium", "old.html")
	g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: networks})
	site := g.InfoServer()
	t.Cleanup(site.Close)
	for _, test := range []struct {
		program, gateway string
		options          map[string]any
	}{
		{"hyperdiscovery", printed(g), nil},
		{"dat-sdk", printed(g), nil},
		{"dat-js", strings.Replace(site.URL, "http:", "ws:", 1), nil},
		{"discovery-swarm-stream", site.URL, map[string]any{"transports": []string{webSocket}}},
		{"discovery-swarm-web", site.URL, nil},
	} {
		t.Run(test.program, func(t *testing.T) {
			p := oldProgram{t, page, test.program}
			p.start(test.gateway, a, "/dat.json", `{"title":"old"}`, test.options)
			live := "/live-" + test.program
			write(live, "while it is watched")
			p.reads(live, "while it is watched")
			events, count := p.report(a, "dat")
			if test.program != "dat-sdk" && (count != 1 || len(events) == 0) { // which shows neither
				t.Errorf("%d connections, want 1, and %d events", count, len(events))
			}
			p.stop()
			peer.Await("closed", nil)
			gateway.Eventually(t, "the session has ended", func() bool { return g.Sessions() == 0 })
		})
	}
	noComplaints(t, page)
}

// What webpack makes of old programs with the same alias does what it did: it reads a file of a real
// peer, and sees it write.
func TestOldProgramsByWebpack(t *testing.T) {
	t.Parallel()
	dns, networks := oldWorld(t)
	peer := node.Start(t, "old.js", "archive", dns)
	var a archive
	peer.Await("ready", &a)
	write := func(name, text string) {
		peer.Do(map[string]any{"write": name, "text": text})
		peer.Await("written", nil)
	}
	write("/dat.json", `{"title":"old"}`)
	page := browser.Start(t, "chromium", "oldwebpack.html")
	g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: networks})
	for _, name := range []string{"hyperdiscovery", "discovery-swarm-stream"} {
		p := oldProgram{t, page, name}
		p.start(printed(g), a, "/dat.json", `{"title":"old"}`, nil)
		live := "/live-" + name
		write(live, "while it is watched")
		p.reads(live, "while it is watched")
		if events, count := p.report(a, "dat"); count != 1 || len(events) == 0 {
			t.Errorf("%s: %d connections, want 1, and %d events", name, count, len(events))
		}
		p.stop()
		peer.Await("closed", nil)
	}
	noComplaints(t, page)
}

// A program that joins more topics than a session may have is told of each one that it is not on.
// The original joined any number.
func TestOldProgramsWithTooManyTopics(t *testing.T) {
	t.Parallel()
	page := browser.Start(t, "chromium", "old.html")
	for _, name := range []string{"hyperdiscovery", "discovery-swarm-stream"} {
		t.Run(name, func(t *testing.T) {
			const limit, more = 64, 3 // the gateway's default
			g := gateway.Start(t, server.Config{Origins: []string{page.Origin}})
			var errs []struct{ Code, Index int }
			page.Call(t, "many", map[string]any{"program": name, "gateway": printed(g), "n": limit + more}, &errs)
			if len(errs) != more {
				t.Fatalf("%d errors, want %d: %+v", len(errs), more, errs)
			}
			for i, e := range errs {
				if e.Code != int(wtproto.CodeTopicLimit) || e.Index != limit+i {
					t.Errorf("error %d has the code %#x and topic %d, want %#x and %d", i, e.Code, e.Index, wtproto.CodeTopicLimit, limit+i)
				}
			}
		})
	}
}

// Two pages with old programs meet through their gateway, which knows no other network. Exactly one
// of them is the initiator, where neither was once, and one that leaves ends the connection of the
// other.
func TestOldPagesMeet(t *testing.T) {
	t.Parallel()
	page := browser.Start(t, "chromium", "old.html")
	g := gateway.Start(t, server.Config{Origins: []string{page.Origin}})
	writer, reader := oldProgram{t, page, "create"}, oldProgram{t, page.Another(t), "hyperdiscovery"}
	a := writer.start(printed(g), archive{}, "/dat.json", "of a page", nil)
	reader.start(printed(g), a, "/dat.json", "of a page", nil)
	initiators := 0
	for _, p := range []oldProgram{writer, reader} {
		events, count := p.report(a, "client")
		if i := slices.IndexFunc(events, func(e oldEvent) bool { return e.Event == "connection" }); i < 0 || count != 1 || len(events[i].ID) != 64 {
			t.Fatalf("%s has %d connections: %+v", p.name, count, events)
		} else if events[i].Initiator {
			initiators++
		}
	}
	if initiators != 1 {
		t.Errorf("%d initiators", initiators)
	}
	for _, p := range []oldProgram{writer, reader} { // both are told why it is only pages that they meet
		var complaints []string
		gateway.Eventually(t, p.name+" complains", func() bool {
			p.page.Call(t, "complaints", nil, &complaints)
			return len(complaints) > 0
		})
		if len(complaints) != 1 || !strings.Contains(complaints[0], "without --dat") {
			t.Errorf("%s complains: %q", p.name, complaints)
		}
	}
	writer.stop()
	gateway.Eventually(t, "the other end is closed", func() bool {
		_, count := reader.report(a, "client")
		return count == 0
	})
	reader.stop()
}

// A page with the options of the old server's, defaultHash and defaultHandshake, talks with a real
// discovery-swarm that has its defaults, on a topic with a name.
func TestOldHandshakeInBrowsers(t *testing.T) {
	t.Parallel()
	browser.EachPage(t, "old.html", func(t *testing.T, page *browser.Page) {
		dns, networks := oldWorld(t)
		peer := node.Start(t, "old.js", "echo", dns)
		peer.Await("ready", nil)
		g := gateway.Start(t, server.Config{Origins: []string{page.Origin}, Networks: networks})
		var got struct {
			Back, Channel, Network string
			Events                 []string
		}
		page.Call(t, "echo", map[string]any{"gateway": printed(g), "name": "wowcool", "text": "there and back"}, &got)
		if got.Back != "there and back" || got.Channel != "wowcool" || got.Network != "discovery-swarm" || !slices.Equal(got.Events, []string{"close", "end", "finish"}) {
			t.Errorf("the page has %+v", got)
		}
		peer.Await("closed", nil)
		noComplaints(t, page)
	})
}
