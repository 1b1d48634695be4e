package main

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// What tells much of the program, or costs much, is there if the operator says so, on the admin
// listener only.
func TestDebuggingIsForOperatorsWhoAskForIt(t *testing.T) {
	for args, want := range map[string]struct{ pprof, qlog int }{
		"":               {404, 404},
		"--pprof":        {200, 404},
		"--qlog":         {404, 400},
		"--pprof --qlog": {200, 400},
	} {
		i := start(t, append(strings.Fields(args), "--admin", "127.0.0.1:0", "--dev-http", "127.0.0.1:0")...)
		for path, status := range map[string]int{
			"/debug/pprof/": want.pprof, "/debug/pprof/goroutine?debug=1": want.pprof, "/debug/pprof/cmdline": want.pprof, "/debug/qlog?address=x": want.qlog,
		} {
			if r, _ := get(t, i.Admin+path); r.StatusCode != status {
				t.Errorf("%q: %s: %s, want %d", args, path, r.Status, status)
			}
			if r, _ := get(t, i.Admin+path, "Origin", "https://evil.example"); r.StatusCode != 403 {
				t.Errorf("%q: %s for a page elsewhere: %s", args, path, r.Status)
			}
			for _, public := range []string{"https://" + i.QUIC, strings.TrimSuffix(i.Info, wtproto.InfoPath)} {
				if r, _ := get(t, public+path); r.StatusCode != 404 {
					t.Errorf("%q: %s%s: %s, want 404", args, public, path, r.Status)
				}
			}
		}
	}
}

// The log of a connection begins with its first packet and ends with it. Others are not in it, and
// nobody waits for its reader.
func TestQlogOfOneConnection(t *testing.T) {
	i := start(t, "--qlog", "--admin", "127.0.0.1:0")
	ask := func(query string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(gwtest.Context(t), http.MethodGet, i.Admin+"/debug/qlog"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/qlog+json-seq" {
			t.Fatalf("%s, %v", resp.Status, resp.Header)
		}
		return resp
	}
	other, unread, log := ask("?address=192.0.2.1"), ask("?address=127.0.0.1"), ask("")
	topic := wtproto.TopicFromName("a")
	for range 3 { // for the log that is not read, for the one that is, and for none
		c, err := client.Dial(gwtest.Context(t), i.URL, client.Config{NoReconnect: true})
		if err != nil {
			t.Fatal(err)
		}
		gwtest.Join(t, c, topic, client.JoinOptions{})
		c.Close()
	}
	text, err := io.ReadAll(log.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"urn:ietf:params:qlog:events:quic-12", "packet_received", "connection_closed"} {
		if n := strings.Count(string(text), want); n == 0 || want == "connection_closed" && n != 1 {
			t.Errorf("the log has %d times %s in %d bytes", n, want, len(text))
		}
	}
	if b, err := bufio.NewReader(unread.Body).ReadByte(); err != nil || b != 0x1e {
		t.Errorf("the other log begins with %x, %v", b, err)
	}
	other.Body.Close() // while it waits
	i.stop()
	if status := i.wait(t); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}
