package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// process is the program, running in the test's process.
type process struct {
	out, errs output
	stop      context.CancelFunc // is Ctrl-C
	status    chan int           // takes the exit status
}

// output is what a process printed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// swarm runs the program until the test ends.
func swarm(t *testing.T, stdin io.Reader, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{stop: cancel, status: make(chan int, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.status <- run(ctx, args, stdin, &p.out, &p.errs)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Logf("swarm %q printed\n%s\n%s", args, cut(p.out.String()), p.errs.String())
		}
	})
	return p
}

// cut returns the beginning of s.
func cut(s string) string { return s[:min(len(s), 2000)] }

// wait returns the exit status.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	return next(t, p.status)
}

// events returns the events that were printed.
func (p *process) events(t *testing.T) []event {
	t.Helper()
	var all []event
	for line := range strings.Lines(p.out.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// kinds returns the names of events without those of STATUS, and one name for data in pieces.
func kinds(all []event) string {
	var names []string
	for _, e := range all {
		if e.Event != "status" && (e.Event != "data" || names[len(names)-1] != "data") {
			names = append(names, e.Event)
		}
	}
	return strings.Join(names, " ")
}

// received returns the data of all events.
func received(all []event) string {
	var b []byte
	for _, e := range all {
		b = append(b, e.Data...)
	}
	return string(b)
}

// text returns n bytes without repetition.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.String()[:n]
}

// open is a standard input that has nothing, and ends with the test.
func open(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

// through returns a command line with the flags for g.
func through(g *gateway.Gateway, args ...string) []string {
	return append(args, "--gateway", g.URL, "--cert-hash", fmt.Sprintf("%x", g.Hash))
}

// next returns what comes next.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-gateway.Context(t).Done():
		t.Fatal("nothing comes")
		panic("not reached")
	}
}

// withStatic starts a gateway on which the topic "there" has peers at addresses.
func withStatic(t *testing.T, addresses ...string) *gateway.Gateway {
	t.Helper()
	return gateway.Start(t, staticConfig(t, addresses...))
}

func staticConfig(t *testing.T, addresses ...string) server.Config {
	cfg := server.Config{}
	cfg.Networks = append(cfg.Networks, gateway.Static(t, wtproto.TopicFromName("there"), addresses...))
	return cfg
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"", "expected one of"},
		{"send --gateway https://g", "want FILE… TOPIC, --code FILE… or --new FILE…"},
		{"send --code --gateway https://g", "want FILE… TOPIC, --code FILE… or --new FILE…"},
		{"send a --code --new --gateway https://g", "can't be used together"},
		{"send a --gateway https://g", "want FILE… TOPIC, --code FILE… or --new FILE…"},
		{"receive 42-tulip-lantern-parad --gateway https://g", `"parad" is not a word of codes`},
		{"join --gateway https://g", "want TOPIC, --secret SECRET or --secret-file FILE"},
		{"join a --secret b --gateway https://g", "leave out TOPIC"},
		{"join a --identity b --gateway https://g", "--identity is the key of a secret room"},
		{"join --secret b --secret-file c --gateway https://g", "--secret-file"},
		{"join --secret-file /nowhere --gateway https://g", "no such file"},
		{"peer", "want TOPIC, --secret SECRET or --secret-file FILE"},
		{"receive --gateway https://g", "want TOPIC, --secret SECRET or --secret-file FILE"},
		{"receive --plain --secret b --gateway https://g", "both --plain and a secret"},
		{"send a --code --secret b --gateway https://g", "leave out --secret"},
		{"forward --new --secret a b:1 --gateway https://g", "both --new and a secret"},
		{"listen a b:1 --secret a --gateway https://g", "leave out TOPIC"},
		{"listen a --gateway https://g", "want TOPIC HOST:PORT"},
		{"join a --gateway https://g --transport tcp", `--transport must be one of "auto","quic","websocket" but got "tcp"`},
		{"fly", "unexpected argument fly"},
		{"topic", "expected \"<name>\""},
		{"join a", "want a gateway: --gateway URL, SWARMGATE_GATEWAY, or"},
		{"join a --gateway https://g --cert-hash 12", "want 64 hexadecimal digits"},
		{"forward a nowhere --gateway https://g", "want HOST:PORT"},
		{"forward a b:0 --gateway https://g", `port "0" is not a number from 1 to 65535`},
		{"join swarmgate://g/#", "has no topic"},
		{"join swarmgate://g/x#a", "has the path"},
		{"forward a --gateway https://g", "want TOPIC HOST:PORT"},
		{"forward a b:1 --new --gateway https://g", "leave out TOPIC"},
		{"forward --new a --gateway https://g", "want HOST:PORT"},
		{"listen a 127.0.0.1 --gateway https://g", "want HOST:PORT"},
		{"listen a 127.0.0.1:0 --peer 12 --gateway https://g", "want at least 6 characters"},
		{"peer a --dht secret", "want off, private or public"},
		{"peer a --echo --forward b:1", "can't be used together"},
		{"peer a --dial-allow 10", "--dial-allow: "},
	} {
		p := swarm(t, open(t), strings.Fields(c.args)...)
		if status := p.wait(t); status != statusUsage || !strings.Contains(p.errs.String(), c.want) || !strings.HasPrefix(p.errs.String(), "swarm: ") {
			t.Errorf("%q: status %d, %s; want %d, %s", c.args, status, p.errs.String(), statusUsage, c.want)
		}
	}
	p := swarm(t, open(t), "topic", "")
	if status := p.wait(t); status != statusUsage {
		t.Errorf("an empty topic: status %d, want %d", status, statusUsage)
	}
	helped := func(args ...string) {
		p := swarm(t, open(t), args...)
		if status := p.wait(t); status != 0 || p.out.String() == "" || p.errs.String() != "" {
			t.Errorf("%q: status %d, %q, %q", args, status, p.out.String(), p.errs.String())
		}
	}
	helped("--help")
	helped("--version")
	leaves(newTestParser(t).Model.Node, func(n *kong.Node) { helped(append(strings.Fields(n.FullPath())[1:], "--help")...) })
}

// If five seeds, or three gateways, fail in the same way, one line says so, and says the cause
// once.
func TestErrorsAreOneLine(t *testing.T) {
	t.Setenv("SWARMGATE_GATEWAY", "")
	for _, c := range []struct{ args, want string }{
		{
			"peer a --dht private --dht-seed a --dht-seed b --dht-seed /ip4/192.0.2.1 --dht-seed c --dht-seed d",
			"swarm: p2p: config: Seeds: a, b, c, d: must begin with /; /ip4/192.0.2.1: want /p2p/ID at its end\n",
		},
		{
			"join a --gateway http://127.0.0.1:1 --gateway http://127.0.0.1:2",
			"swarm: client: dial: http://127.0.0.1:1, http://127.0.0.1:2: connect: connection refused\n",
		},
		{
			"join a --gateway g:0 --gateway h:0",
			"swarm: client: dial: config: \"g:0\": invalid port \"0\"; \"h:0\": invalid port \"0\"\n",
		},
	} {
		p := swarm(t, open(t), strings.Fields(c.args)...)
		if status := p.wait(t); status != statusFailed || p.errs.String() != c.want {
			t.Errorf("%q: status %d, %q; want %d, %q", c.args, status, p.errs.String(), statusFailed, c.want)
		}
	}
}
