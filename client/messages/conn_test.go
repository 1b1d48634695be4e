package messages_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/client/messages"
)

// pair returns the two ends of a connection that takes nothing that is not read.
func pair(t *testing.T, cfg messages.Config) (a, b *messages.Conn, x, y net.Conn) {
	x, y = net.Pipe()
	t.Cleanup(func() {
		x.Close()
		y.Close()
	})
	return messages.New(x, cfg), messages.New(y, cfg), x, y
}

func TestTooLarge(t *testing.T) {
	for _, c := range []struct {
		max, size int
		want      bool
	}{
		{0, messages.DefaultMaxSize, false},
		{0, messages.DefaultMaxSize + 1, true},
		{5, 5, false},
		{5, 6, true},
		{-1, messages.DefaultMaxSize + 1, false},
	} {
		var buf bytes.Buffer
		err := messages.New(&buf, messages.Config{MaxSize: c.max}).SendBytes(t.Context(), make([]byte, c.size))
		e, refused := errors.AsType[*messages.SizeError](err)
		if refused != c.want || refused && (int(e.Size) != c.size || buf.Len() != 0) {
			t.Errorf("at most %d: sending %d bytes: %v, %d bytes were written", c.max, c.size, err, buf.Len())
		}
		if refused {
			err := messages.New(&buf, messages.Config{MaxSize: -1}).SendBytes(t.Context(), make([]byte, c.size))
			if err != nil {
				t.Fatal(err)
			}
		}
		m, err := messages.New(&buf, messages.Config{MaxSize: c.max}).Receive(t.Context())
		if _, refused := errors.AsType[*messages.SizeError](err); refused != c.want || !refused && len(m.Data) != c.size {
			t.Errorf("at most %d: received %d bytes of %d, %v", c.max, len(m.Data), c.size, err)
		}
	}
}

func TestSendRefusesWhatIsNotItsKind(t *testing.T) {
	var buf bytes.Buffer
	c := messages.New(&buf, messages.Config{})
	for _, m := range []messages.Message{
		{Kind: messages.Text, Data: []byte{0xff}},
		{Kind: messages.JSON, Data: []byte("{")},
	} {
		if err := c.Send(t.Context(), m); !errors.Is(err, messages.ErrMalformed) {
			t.Errorf("kind %d, %x: %v", m.Kind, m.Data, err)
		}
	}
	if err := c.SendJSON(t.Context(), func() {}); err == nil {
		t.Error("a function was sent as JSON")
	}
	if buf.Len() > 0 {
		t.Errorf("%x was written", buf.Bytes())
	}
}

// A JSON value of another shape spoils nothing but itself.
func TestReceiveJSON(t *testing.T) {
	var buf bytes.Buffer
	c, ctx := messages.New(&buf, messages.Config{}), t.Context()
	type move struct{ To string }
	if err := errors.Join(c.SendJSON(ctx, 5), c.SendText(ctx, "e4"), c.SendJSON(ctx, move{"e4"})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cannot unmarshal", "want JSON, got a message of kind 1"} {
		if m, err := messages.ReceiveJSON[move](ctx, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %q", m, err, want)
		}
	}
	if m, err := messages.ReceiveJSON[move](ctx, c); m.To != "e4" || err != nil {
		t.Errorf("%v, %v; want e4", m, err)
	}
	if _, err := messages.ReceiveJSON[move](ctx, c); err != io.EOF {
		t.Errorf("%v, want the end", err)
	}
}

// Send waits for a peer that does not read: a message is on its way, no other follows.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, x, _ := pair(t, messages.Config{})
		sent := 0
		go func() {
			for a.SendBytes(context.Background(), make([]byte, 1000)) == nil {
				sent++
			}
		}()
		for n := range 5 {
			synctest.Wait()
			if sent != n {
				t.Errorf("%d messages were sent, %d received", sent, n)
			}
			if _, err := b.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		x.Close()
		synctest.Wait()
	})
}

// Messages of many senders arrive whole, and those of each in order.
func TestManySenders(t *testing.T) {
	const senders, each = 10, 50
	a, b, x, _ := pair(t, messages.Config{})
	go func() {
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := a.SendJSON(t.Context(), [2]int{s, i}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		x.Close()
	}()
	var next [senders]int
	for m, err := range b.All(t.Context()) {
		var got [2]int
		if err := errors.Join(err, m.Decode(&got)); err != nil {
			t.Fatal(err)
		}
		if got[1] != next[got[0]] {
			t.Errorf("sender %d: message %d, want %d", got[0], got[1], next[got[0]])
		}
		next[got[0]]++
	}
	if next[0] != each || next[senders-1] != each {
		t.Errorf("received %v, want %d of each", next, each)
	}
}

// A context ends Receive and Send while they wait. What had come of a message is not lost.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, x, _ := pair(t, messages.Config{})
		whole := messages.Message{Kind: messages.Text, Data: []byte("hello")}.Append(nil)
		for at := range whole {
			go x.Write(whole[at : at+1])
			synctest.Wait()
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			m, err := b.Receive(ctx)
			cancel()
			if at < len(whole)-1 && (!errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second) {
				t.Errorf("byte %d: %v after %v, want the context's end", at, err, time.Since(start))
			}
			if at == len(whole)-1 && (err != nil || m.Text() != "hello") {
				t.Errorf("%q, %v", m.Text(), err)
			}
		}
	})
}

func TestContextEndsSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, y := pair(t, messages.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 3 { // one writes, two wait for it
			wg.Go(func() {
				if err := a.SendText(ctx, "hello"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, want the context's end", err)
				}
			})
		}
		wg.Wait()
		go a.SendText(t.Context(), "hi") // nothing had been sent
		if m, err := b.Receive(t.Context()); m.Text() != "hi" || err != nil {
			t.Errorf("%q, %v; want hi", m.Text(), err)
		}

		// A part of a message is the end of all sending.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go io.ReadFull(y, make([]byte, 3))
		err := a.SendText(ctx, "hello")
		if e, ok := errors.AsType[*messages.PartError](err); !ok || !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("%v, want a part", err)
		}
		if again := a.SendText(t.Context(), "more"); again != err {
			t.Errorf("%v, want %v", again, err)
		}
	})
}

// The deadlines of the connection are those of its messages.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, y := pair(t, messages.Config{})
		y.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := b.Receive(context.Background()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want a deadline", err)
		}
		y.SetReadDeadline(time.Time{})
		go a.SendText(t.Context(), "hi")
		if m, err := b.Receive(t.Context()); m.Text() != "hi" || err != nil {
			t.Errorf("%q, %v; want hi", m.Text(), err)
		}
	})
}

// A connection without deadlines, such as a buffer, does not begin a message after its context.
func TestWithoutDeadlines(t *testing.T) {
	var buf bytes.Buffer
	c := messages.New(&buf, messages.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := c.SendText(ctx, "hi"); err != cause || buf.Len() > 0 {
		t.Errorf("%v, want %v", err, cause)
	}
	if _, err := c.Receive(ctx); err != cause {
		t.Errorf("%v, want %v", err, cause)
	}
}

// The length of a message that does not come takes no memory.
func TestLengthTakesNoMemory(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		a.Write([]byte{byte(messages.Bytes), 0xff, 0xff, 0xff, 0xff, 'x'})
		a.Close()
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := messages.New(b, messages.Config{MaxSize: -1}).Receive(t.Context()); err != io.ErrUnexpectedEOF {
		t.Errorf("%v, want an unexpected end", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}
