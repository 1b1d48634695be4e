package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/swarmgate/swarmgate/client/messages"
)

// A console speaks messages, with kinds of its own for names and files (docs/MESSAGES.md,
// Consoles).
const (
	textKind   = messages.Text
	nameKind   = messages.FirstOwn + iota - 1 // text
	fileKind                                  // id 4, size 8, ask 16, answer 16, name text
	dataKind                                  // id 4, bytes
	cancelKind                                // id 4, reason text
	grantKind                                 // id 4, offset 8
	savedKind                                 // id 4
	refuseKind                                // id 4, reason text
	againKind                                 // id 4, ask 16
	fromKind                                  // id 4, offset 8, answer 16
)

// callText is what the initiator of a circuit says first, answerText what a console says to it.
const (
	callText   = "swarmgate-console/1 hello\n"
	answerText = "swarmgate-console/1 here\n"
)

// Limits of what consoles say, in bytes.
const (
	maxChunk   = 64 << 10 // of a file in one DATA
	maxText    = 16 << 10
	maxName    = 255 // of a name or a reason
	halfSize   = 16  // of each half of an offer's secret
	maxPayload = maxChunk + 4
)

// fileWindow is how many bytes of a file the receiver grants beyond those that are on its disk.
const fileWindow = 4 << 20

// maxFiles is how many files of a peer may be offered or on their way.
const maxFiles = 32

// half is one of the two halves of an offer's secret.
type half [halfSize]byte

// consoleMessage is what one console says to another. Which members it has depends on Kind.
type consoleMessage struct {
	Kind        messages.Kind
	ID          uint32 // of a file, given by the side that has it
	Number      int64  // the size of FILE, the offset of GRANT and FROM
	Ask, Answer half
	Text        string // a name, a text or a reason, by a stranger
	Bytes       []byte // of DATA
}

// encode returns m as it is sent. Texts that are too long are cut between two characters.
func (m consoleMessage) encode() messages.Message {
	b := make([]byte, 0, 64+len(m.Text)+len(m.Bytes))
	if m.Kind != nameKind && m.Kind != textKind {
		b = binary.BigEndian.AppendUint32(b, m.ID)
	}
	if m.Kind == fileKind || m.Kind == grantKind || m.Kind == fromKind {
		b = binary.BigEndian.AppendUint64(b, uint64(m.Number))
	}
	if m.Kind == fileKind || m.Kind == againKind {
		b = append(b, m.Ask[:]...)
	}
	if m.Kind == fileKind || m.Kind == fromKind {
		b = append(b, m.Answer[:]...)
	}
	switch m.Kind {
	case textKind:
		b = append(b, cutText(m.Text, maxText)...)
	case nameKind, fileKind, cancelKind, refuseKind:
		b = append(b, cutText(m.Text, maxName)...)
	case dataKind:
		b = append(b, m.Bytes...)
	}
	return messages.Message{Kind: m.Kind, Data: b}
}

// cutText returns at most limit bytes of s, and no part of a character.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// errNotConsoleMessage is the end of a conversation with somebody who does not speak as a console
// does.
var errNotConsoleMessage = errors.New("what came is not what a console says")

// decode reads what a console said. ok is false for a kind that consoles do not know.
func decode(from messages.Message) (m consoleMessage, ok bool, err error) {
	m.Kind = from.Kind
	if m.Kind != textKind && (m.Kind < nameKind || m.Kind > fromKind) {
		return m, false, nil
	}
	b, short := from.Data, false
	take := func(n int) []byte {
		if len(b) < n {
			short = true
			return make([]byte, n)
		}
		head := b[:n]
		b = b[n:]
		return head
	}
	if m.Kind != nameKind && m.Kind != textKind {
		m.ID = binary.BigEndian.Uint32(take(4))
	}
	if m.Kind == fileKind || m.Kind == grantKind || m.Kind == fromKind {
		n := binary.BigEndian.Uint64(take(8))
		short = short || n > 1<<53-1
		m.Number = int64(n)
	}
	if m.Kind == fileKind || m.Kind == againKind {
		copy(m.Ask[:], take(halfSize))
	}
	if m.Kind == fileKind || m.Kind == fromKind {
		copy(m.Answer[:], take(halfSize))
	}
	limit := maxName
	switch m.Kind {
	case textKind:
		limit = maxText
		m.Text = string(b)
	case nameKind, fileKind, cancelKind, refuseKind:
		m.Text = string(b)
	case dataKind:
		m.Bytes = b
	}
	if short || len(m.Text) > limit || !utf8.ValidString(m.Text) {
		return m, false, fmt.Errorf("%w: kind %d of %d bytes", errNotConsoleMessage, from.Kind, len(from.Data))
	}
	return m, true, nil
}

// consoleConn is a circuit at whose other end a console is. Any number of goroutines may use it.
// The circuit's end ends its calls.
type consoleConn struct{ conn *messages.Conn }

// errNotConsole says that something else is at the other end.
var errNotConsole = errors.New("the peer is not a console")

// meetConsole finds out whether a console is at the other end of a circuit, of which this end is
// the initiator or not. Until the peer has said something it waits; make rw fail to end that.
func meetConsole(rw io.ReadWriter, initiator bool) (*consoleConn, error) {
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
