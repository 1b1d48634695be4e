package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The threat model speaks of each limit, and of no test that is not there.
func TestThreatModel(t *testing.T) {
	b, err := os.ReadFile("../../docs/THREATMODEL.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, l := range server.Limits() {
		if !strings.Contains(text, "`"+string(l.Name)+"`") {
			t.Errorf("the limit %s bounds nobody", l.Name)
		}
	}
	var tests strings.Builder
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		tests.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(tests.String(), "\nfunc "+m[1]+"(") {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// The log tells what fails on a topic, and not the topic, which is all that it takes to join.
func TestLogTellsNoTopic(t *testing.T) {
	var log lockedBuffer
	o := parsed(t, "--listen", "127.0.0.1:0", "--dht", "off", "--static", "there=tcp://"+freeport.Address(t))
	g, err := open(o, newLogger(o, &log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- errors.Join(g.serve(ctx, o, io.Discard), g.close()) }()
	<-g.server.Started()
	c, err := client.Dial(gwtest.Context(t), g.url().String(), client.Config{NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	topic := wtproto.TopicFromName("there")
	gwtest.Join(t, c, topic, client.JoinOptions{})
	gwtest.Eventually(t, "that the peer refused is in the log", func() bool { return strings.Contains(log.String(), "peer refused") })
	c.Close()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	digest := topic.Digest()
	if text := log.String(); !strings.Contains(text, "topic="+topic.Short()) || strings.Contains(text, topic.String()[:8]) || strings.Contains(text, hex.EncodeToString(digest[:5])) {
		t.Errorf("the log tells a topic, or not of %s:\n%s", topic.Short(), text)
	}
}

// lockedBuffer takes a log.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
