//go:build !race

package web

import (
	"net/url"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/test/node"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A hypercore in a page and a hypercore 11 in Node replicate over a Noise stream of their own: the
// circuit carries any protocol, and tells each end whether it is the initiator.
func TestHypercoreOverItsOwnNoiseStream(t *testing.T) {
	t.Parallel()
	browser.EachPage(t, "blank.html", func(t *testing.T, page *browser.Page) {
		t.Parallel()
		script := node.Start(t, "hypercore.mjs", t.TempDir())
		var ready struct{ Topic, Key, Peer, Site string }
		script.Await("ready", &ready)
		gateway := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--dht", "off", "--no-lan",
			"--static", ready.Topic+"=tcp://"+ready.Peer, "--allow-origin", ready.Site)
		arguments := url.Values{"gateway": {strings.TrimSuffix(gateway.Info, wtproto.InfoPath)}, "key": {ready.Key}}
		page.Call(t, "goto", map[string]any{"url": ready.Site + "/#" + arguments.Encode()}, nil)
		log := "the first block\n"
		shows := func(want string) {
			t.Helper()
			var got string
			if page.Call(t, "shows", map[string]any{"selector": "#log", "text": want}, &got); got != want {
				t.Errorf("the page shows %q, want %q", got, want)
			}
		}
		shows(log)
		script.Do(map[string]string{"append": "the second, live"})
		shows(log + "the second, live\n")
		var complaints []string
		if page.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("complaints: %q", complaints)
		}
	})
}
