package main

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/swarmgate/swarmgate/client/messages"
	"github.com/swarmgate/swarmgate/wtproto"
)

// callText is what the initiator of a circuit says first, answerText what a console says to it.
const (
	callText   = "swarmgate-console/1 hello\n"
	answerText = "swarmgate-console/1 here\n"
)

// fileWindow is how many bytes of a file the receiver grants beyond those that are on its disk.
const fileWindow = 4 << 20

// maxFiles is how many files of a peer may be offered or on their way.
const maxFiles = 32

// consoleConn is a circuit at whose other end a console is. Any number of goroutines may use it.
// The circuit's end ends its calls.
type consoleConn struct{ conn *messages.Conn }

// errNotConsole says that something else is at the other end.
var errNotConsole = errors.New("the peer is not a console")

// detectConsole finds out whether a console is at the other end of a circuit, of which this end is
// the initiator or not. Until the peer has said something it waits; make rw fail to end that.
func detectConsole(rw io.ReadWriter, initiator bool) (*consoleConn, error) {
	hello := func(text string) string {
		return string(messages.Message{Kind: messages.Hello, Data: []byte(text)}.Append(nil))
	}
	want := hello(callText)
	if initiator {
		if _, err := io.WriteString(rw, want); err != nil {
			return nil, err
		}
		want = hello(answerText)
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := rw.Read(got[n:])
		if n += k; string(got[:n]) != want[:n] {
			return nil, errNotConsole
		}
		if n < len(got) && err == io.EOF {
			return nil, errNotConsole
		} else if n < len(got) && err != nil {
			return nil, err
		}
	}
	if !initiator {
		if _, err := io.WriteString(rw, hello(answerText)); err != nil {
			return nil, err
		}
	}
	return &consoleConn{messages.New(rw, messages.Config{MaxSize: maxPayload})}, nil
}

// send sends m, and waits while the peer does not read.
func (c *consoleConn) send(m consoleMessage) error {
	return c.conn.Send(context.Background(), m.encode())
}

// receive returns the next message of a kind that consoles know, io.EOF at the regular end.
func (c *consoleConn) receive() (consoleMessage, error) {
	for {
		got, err := c.conn.Receive(context.Background())
		if err != nil {
			return consoleMessage{}, err
		}
		if m, ok, err := decode(got); ok || err != nil {
			return m, err
		}
	}
}

// serveConsoles runs serve for each peer that is a console, until the topic ends, and waits for
// all. The circuits of other programs are closed.
func serveConsoles(ctx context.Context, m *meeting, serve func(memberConn, *consoleConn) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for conn, err := range m.conns(ctx) {
		if err != nil {
			return err
		}
		if !conn.Peer().Client {
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer conn.Close()
			if console, err := detectConsole(conn, conn.Peer().Initiator); err == nil {
				_ = serve(conn, console) // another circuit may follow
			}
		})
	}
	return m.topic.Err()
}

// isLost reports whether a circuit that ended with err was lost, so that its files go on over
// another one. If one of its ends wanted the end, it was not lost.
func isLost(err error) bool {
	if errors.Is(err, io.EOF) {
		return false
	}
	code := codeOf(err)
	switch code {
	case wtproto.CodeNone, wtproto.CodePeerReset, wtproto.CodeLeft, wtproto.CodeDeclined:
		return false
	}
	return code < wtproto.CodeApplication
}
