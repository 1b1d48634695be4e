package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// hanging is a network with one peer, whose streams hang: nothing ends what waits in them, not
// even a Reset.
type hanging struct{ released chan struct{} }

func (hanging) Name() string { return "hanging" }
func (hanging) Close() error { return nil }

func (n hanging) Join(ctx context.Context, _ wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		yield(discovery.Sighting{
			Peer: discovery.Peer{Network: "hanging", ID: "1"}, Holds: -1,
			Dial: func(context.Context, wtproto.EndpointID) (discovery.Stream, error) { return n, nil },
		}, nil)
		<-ctx.Done()
	}
}

func (n hanging) Read([]byte) (int, error)        { <-n.released; return 0, io.EOF }
func (n hanging) Write(b []byte) (int, error)     { return len(b), nil }
func (n hanging) CloseWrite() error               { return nil }
func (n hanging) Reset(wtproto.Code)              { <-n.released }
func (n hanging) SetReadDeadline(time.Time) error { return nil }

// One circuit that hung kept the program alive for 40 s after SIGTERM, with a drain of 3 s.
// Whatever hangs, it ends, and says what hung.
func TestProgramEndsWhateverHangs(t *testing.T) {
	n := hanging{make(chan struct{})}
	defer close(n.released)
	o := parsed(t, "--listen", "127.0.0.1:0", "--dht", "off", "--drain", "1ms")
	g, err := open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if g.server, err = server.New(server.Config{
		TLS: g.source.TLSConfig(), Hashes: g.source.Hashes, Networks: []discovery.Network{n},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(g.serve(ctx, o, write), g.close()) }()
	i := &instance{}
	if err := json.NewDecoder(read).Decode(&i.readyLine); err != nil {
		t.Fatal(err)
	}
	c := i.dial(t)
	conn := gwtest.Accept(t, gwtest.Join(t, c, wtproto.TopicFromName("any"), client.JoinOptions{}))
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "circuit being reset: 1") {
			t.Errorf("the program ended with %v, want what hung", err)
		}
		t.Logf("%v after %v", err, time.Since(began))
	case <-gwtest.Context(t).Done():
		t.Fatal("the program does not end")
	}
}

// A part that hangs is named, and those after it are not waited for.
func TestEnd(t *testing.T) {
	failed := errors.New("failed")
	quick := step{"quick", func() error { return failed }}
	if err := end(time.Minute, []step{quick, quick}); !errors.Is(err, failed) {
		t.Errorf("end = %v, want %v", err, failed)
	}
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		slow := step{"slow", func() error { <-hang; return nil }}
		began := time.Now()
		err := end(time.Minute, []step{quick, slow, quick})
		if took := time.Since(began); err == nil || !strings.HasSuffix(err.Error(), ": slow") || took != time.Minute {
			t.Errorf("end = %v after %v, want that the slow one has not ended in 1m", err, took)
		}
		close(hang)
	})
}
