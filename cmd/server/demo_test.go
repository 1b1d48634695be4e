package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestDemoShowsAndExits(t *testing.T) {
	var out, errs strings.Builder
	status := run(t.Context(), []string{"--demo", "--demo-exit", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0"}, &out, &errs)
	if status != 0 || strings.Contains(errs.String(), "level=ERROR") {
		t.Fatalf("status %d, %s", status, errs.String())
	}
	ready, summary, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(ready, `{"quic":"127.0.0.1:`) {
		t.Errorf("first line: %s", ready)
	}
	for _, want := range []string{
		`found +peer 12D3Koo\w+\n`, `on the network "dht", connected [0-9.]+ ms`, `round trip +[0-9.]+ ms`, `throughput +[0-9.]+ MiB/s each way`,
		`64 MiB, SHA-256 verified`, `\n  http://127.0.0.1:[0-9]+/\?echo\n`, `go run ./cmd/swarm join 'swarmgate://127.0.0.1:[0-9]+/\?h=[0-9a-f]{64}#demo'\n`,
		`From Go: client.Dial\(ctx, "swarmgate://127.0.0.1:[0-9]+/\?h=[0-9a-f]{64}#demo", client.Config{}\)\n`,
	} {
		if !regexp.MustCompile(want).MatchString(summary) {
			t.Errorf("the summary has no %s:\n%s", want, summary)
		}
	}
}

// A warning said that the DHT was failing because no seed is configured, though all worked: the
// client joined before the gateway knew its first host.
func TestDemoStaysUntilItIsEnded(t *testing.T) {
	o := parsed(t, "--demo", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0")
	o.demoTraffic = 1 << 20 // little, since a machine that is busy for long may lose the DHT's other host
	var warned lockedBuffer
	g, err := open(o, slog.New(slog.NewTextHandler(&warned, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- errors.Join(g.serve(ctx, o, write), g.close())
		write.Close()
	}()
	out := bufio.NewReader(read)
	for line := ""; !strings.Contains(line, "go run ./cmd/swarm join"); {
		if line, err = out.ReadString('\n'); err != nil {
			t.Fatalf("%v; serve = %v", err, <-served)
		}
	}
	if s := warned.String(); s != "" {
		t.Errorf("the demo warns of %s", s)
	}
	c, err := client.Dial(gwtest.Context(t), g.url().String(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoes(t, gwtest.Accept(t, gwtest.Join(t, c, wtproto.TopicFromName(demoTopic), client.JoinOptions{})))
	cancel()
	if rest, err := io.ReadAll(out); err != nil || !strings.Contains(string(rest), "Ctrl-C again stops now") {
		t.Errorf("while a client is connected Ctrl-C says %q, %v", rest, err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve = %v, want nil after Ctrl-C", err)
	}
}

func TestDemoSaysWhyThePeerWasNotFound(t *testing.T) {
	o := parsed(t, "--demo", "--no-lan", "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0")
	g, err := open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	o.Demo = false // the visit comes from here
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- g.serve(ctx, o, io.Discard) }()
	<-g.server.Started()
	peer, err := startDemoPeer(g.host.Addrs(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.close()
	peer.id = []byte("another one")
	<-peer.ready
	tooLong := errors.New("it took too long")
	limited, stop := context.WithCancelCause(t.Context())
	go func() { // once it waits for the peer
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for len(g.server.Topics()) == 0 && t.Context().Err() == nil {
			<-tick.C
		}
		<-time.After(300 * time.Millisecond)
		stop(tooLong)
	}()
	if _, err := g.visit(limited, peer, 1); !errors.Is(err, tooLong) || !strings.Contains(err.Error(), "the peer was not found") {
		t.Errorf("visit = %v, want that the peer was not found", err)
	}
	if got := g.excuse(); !strings.Contains(got, "network dht is ") {
		t.Errorf("excuse = %q, want the state of the network", got)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// liar answers with zeros.
type liar struct{ io.Writer }

func (liar) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestDemoChecksWhatComesBack(t *testing.T) {
	if _, err := roundTrip(liar{io.Discard}); err == nil || !strings.Contains(err.Error(), "came back changed") {
		t.Errorf("roundTrip = %v", err)
	}
}
