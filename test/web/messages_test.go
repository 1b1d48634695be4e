//go:build !race

package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/messages"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	floodMessages = 64
	floodSize     = 1 << 20 // together more than all credit and buffers on the way
)

// A page with swarmgate/messages and a program with client/messages send each other what both can
// say, as it is. Either waits if the other one does not read.
func TestMessagesInBrowsers(t *testing.T) {
	t.Parallel()
	browser.EachPage(t, "messages.html", func(t *testing.T, page *browser.Page) {
		conn, wait := meetPage(t, page, "talk", map[string]any{"n": floodMessages, "bytes": floodSize})
		c, ctx := messages.New(conn, messages.Config{}), t.Context()
		if m, err := c.Receive(ctx); err != nil || m.Kind != messages.Text || m.Text() != "hello ✓" {
			t.Fatalf("the page says %q, %v", m.Text(), err)
		}
		all := []messages.Message{
			{Kind: messages.Text, Data: []byte("hi ✓ 𝄞")},
			{Kind: messages.Text},
			{Kind: messages.JSON, Data: []byte(`{"a":[1,2.5,null,true,"x"]}`)},
			{Kind: messages.Bytes, Data: []byte{0, 1, 255}},
			{Kind: messages.Bytes},
			{Kind: messages.FirstOwn, Data: []byte("own")},
			{Kind: 255, Data: []byte("last")},
			{Kind: messages.Bytes, Data: random(messages.DefaultMaxSize, 1)},
		}
		for i := range 200 {
			all = append(all, messages.Message{Kind: messages.Bytes, Data: random(i, byte(i))})
		}
		go func() {
			for i, m := range all {
				if i%3 == 0 { // which the page skips
					if err := c.Send(ctx, messages.Message{Kind: messages.Hello, Data: []byte("test")}); err != nil {
						t.Error(err)
					}
				}
				if err := c.Send(ctx, m); err != nil {
					t.Error(err)
				}
			}
		}()
		for i, want := range all {
			if got, err := c.Receive(ctx); err != nil || got.Kind != want.Kind || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("message %d came back as kind %d, %d bytes, %v; want kind %d, %d bytes", i, got.Kind, len(got.Data), err, want.Kind, len(want.Data))
			}
		}

		if err := c.SendJSON(ctx, map[string]bool{"stop": true}); err != nil {
			t.Fatal(err)
		}
		brief, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		var err error
		for n := 0; err == nil && n < floodMessages; n++ {
			err = c.SendBytes(brief, make([]byte, floodSize))
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sending to a page that does not read: %v, want the context's end", err)
		}
		var taken int
		if wait(&taken); taken == floodMessages {
			t.Errorf("the page sent all %d messages to a program that does not read", taken)
		}
		conn.Reset(wtproto.CodeNone)
	})
}

// A page is told how the messages of a program end: regularly, within one, or with one that is too
// large.
func TestEndsOfMessagesInBrowsers(t *testing.T) {
	t.Parallel()
	text := messages.Message{Kind: messages.Text, Data: []byte("hi")}.Append(nil)
	for _, c := range []struct {
		name string
		says []byte
		want []string
	}{
		{"regularly", text, []string{"text", "end"}},
		{"within a message", slices.Concat(text, text[:3]), []string{"text", "MessageError"}},
		{"with a message that is too large", slices.Concat(text, messages.Message{Kind: messages.Bytes, Data: make([]byte, 1001)}.Append(nil)), []string{"text", "MessageError"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			browser.EachPage(t, "messages.html", func(t *testing.T, page *browser.Page) {
				conn, wait := meetPage(t, page, "hear", nil)
				if _, err := conn.Write(c.says); err != nil {
					t.Fatal(err)
				}
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				var heard []string
				if wait(&heard); !slices.Equal(heard, c.want) {
					t.Errorf("the page heard %q, want %q", heard, c.want)
				}
				if c.want[1] == "end" {
					if _, err := messages.New(conn, messages.Config{}).Receive(t.Context()); err != io.EOF {
						t.Errorf("after the page's end: %v, want io.EOF", err)
					}
				}
			})
		})
	}
}

// meetPage begins a call of a page, which joins a topic at a gateway, and returns the circuit with
// it. wait is that of begin.
func meetPage(t *testing.T, page *browser.Page, call string, args map[string]any) (conn *client.Conn, wait func(any)) {
	t.Helper()
	g := gateway.Start(t, server.Config{Origins: []string{page.Origin}})
	all := map[string]any{"target": browser.Target(g), "topic": "messages"}
	for name, value := range args {
		all[name] = value
	}
	wait = page.Begin(t, call, all)
	joined := gateway.Join(t, g.Dial(t, client.Config{}), wtproto.TopicFromName("messages"), client.JoinOptions{})
	conn, err := joined.Accept(gateway.Context(t))
	if err != nil {
		wait(nil) // it may say why it has not come
		t.Fatal(err)
	}
	return conn, wait
}
