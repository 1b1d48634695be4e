package main

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// Limits of what consoles say, in bytes.
const (
	maxChunk   = 64 << 10 // of a file in one DATA
	maxText    = 16 << 10
	maxName    = 255 // of a name or a reason
	halfSize   = 16  // of each half of an offer's secret
	maxPayload = maxChunk + 4
)

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
var errNotConsoleMessage = errors.New("the peer sent something that a console does not send")

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
