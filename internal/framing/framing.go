// Package framing is what two consoles say to each other on a circuit, with texts and files
// (web/console/FRAMING.md): a call and its answer, then frames. A [Conn] reads and writes them; what
// they mean is its caller's affair.
package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"unicode/utf8"
)

// Call is what the initiator of a circuit says first, Answer what a console says to it.
const (
	Call   = "swarmgate-console/1 hello\n"
	Answer = "swarmgate-console/1 here\n"
)

// Limits of frames, in bytes.
const (
	MaxChunk = 64 << 10 // of a file in one DATA
	MaxText  = 16 << 10
	MaxName  = 255 // of a name or a reason
	HalfSize = 16  // of each half of an offer's secret
	headSize = 5
	maxBody  = MaxChunk + 4
)

// Window is how many bytes of a file the receiver grants beyond those that are on its disk.
const Window = 4 << 20

// MaxFiles is how many files of a peer may be offered or on their way.
const MaxFiles = 32

// Type is the type of a frame.
type Type byte

// The types of frames. Others are skipped.
const (
	Name   Type = 1  // text
	Text   Type = 2  // text
	File   Type = 3  // id 4, size 8, ask 16, answer 16, name text
	Data   Type = 4  // id 4, bytes
	Cancel Type = 5  // id 4, reason text
	Grant  Type = 6  // id 4, offset 8
	Saved  Type = 7  // id 4
	Refuse Type = 8  // id 4, reason text
	Again  Type = 9  // id 4, ask 16
	From   Type = 10 // id 4, offset 8, answer 16
)

// Half is one of the two halves of an offer's secret.
type Half [HalfSize]byte

// Message is a frame. Which members it has depends on Type.
type Message struct {
	Type        Type
	ID          uint32 // of a file, given by the side that has it
	Number      int64  // the size of FILE, the offset of GRANT and FROM
	Ask, Answer Half
	Text        string // a name, a text or a reason, by a stranger
	Bytes       []byte // of DATA
}

// errMalformed is the end of a conversation with somebody who does not speak frames.
var errMalformed = errors.New("framing: what came is not a frame")

// Append appends the frame to b. Texts that are too long are cut between two characters.
func (m Message) Append(b []byte) []byte {
	b = append(b, byte(m.Type), 0, 0, 0, 0)
	begin := len(b)
	if m.Type != Name && m.Type != Text {
		b = binary.BigEndian.AppendUint32(b, m.ID)
	}
	if m.Type == File || m.Type == Grant || m.Type == From {
		b = binary.BigEndian.AppendUint64(b, uint64(m.Number))
	}
	if m.Type == File || m.Type == Again {
		b = append(b, m.Ask[:]...)
	}
	if m.Type == File || m.Type == From {
		b = append(b, m.Answer[:]...)
	}
	switch m.Type {
	case Text:
		b = append(b, cut(m.Text, MaxText)...)
	case Name, File, Cancel, Refuse:
		b = append(b, cut(m.Text, MaxName)...)
	case Data:
		b = append(b, m.Bytes...)
	}
	binary.BigEndian.PutUint32(b[begin-4:], uint32(len(b)-begin))
	return b
}

// cut returns at most limit bytes of s, and no part of a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// Parse reads the body of a frame, of which Bytes stays a part. ok is false for an unknown type.
func Parse(t Type, b []byte) (m Message, ok bool, err error) {
	if t < Name || t > From {
		return m, false, nil
	}
	m.Type = t
	short := false
	take := func(n int) []byte {
		if len(b) < n {
			short = true
			return make([]byte, n)
		}
		head := b[:n]
		b = b[n:]
		return head
	}
	if t != Name && t != Text {
		m.ID = binary.BigEndian.Uint32(take(4))
	}
	if t == File || t == Grant || t == From {
		n := binary.BigEndian.Uint64(take(8))
		if n > 1<<53-1 {
			return m, false, errMalformed
		}
		m.Number = int64(n)
	}
	if t == File || t == Again {
		copy(m.Ask[:], take(HalfSize))
	}
	if t == File || t == From {
		copy(m.Answer[:], take(HalfSize))
	}
	limit := math.MaxInt
	switch t {
	case Text:
		limit = MaxText
		m.Text = string(b)
	case Name, File, Cancel, Refuse:
		limit = MaxName
		m.Text = string(b)
	case Data:
		m.Bytes = b
	}
	if short || len(m.Text) > limit || !utf8.ValidString(m.Text) {
		return m, false, errMalformed
	}
	return m, true, nil
}

// Conn is a circuit at whose other end a console is. One goroutine may read, any number write.
type Conn struct {
	rw io.ReadWriter

	read []byte // the buffer of Read

	mu    sync.Mutex
	frame []byte // guarded by mu
}

// ErrNotConsole says that something else is at the other end.
var ErrNotConsole = errors.New("framing: the peer is not a console")

// Meet finds out whether a console is at the other end of a circuit, of which this end is the
// initiator or not. Until the peer has said something it waits; make rw fail to end that.
func Meet(rw io.ReadWriter, initiator bool) (*Conn, error) {
	want := Call
	if initiator {
		want = Answer
		if _, err := io.WriteString(rw, Call); err != nil {
			return nil, err
		}
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := rw.Read(got[n:])
		if n += k; string(got[:n]) != want[:n] {
			return nil, ErrNotConsole
		}
		if n < len(got) && err == io.EOF {
			return nil, ErrNotConsole
		} else if n < len(got) && err != nil {
			return nil, err
		}
	}
	if !initiator {
		if _, err := io.WriteString(rw, Answer); err != nil {
			return nil, err
		}
	}
	return &Conn{rw: rw, read: make([]byte, maxBody)}, nil
}

// Write writes a frame.
func (c *Conn) Write(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame = m.Append(c.frame[:0])
	_, err := c.rw.Write(c.frame)
	return err
}

// Read returns the next frame of a type that is known. Its Bytes are good until the next call. At
// the end of the circuit the error is io.EOF.
func (c *Conn) Read() (Message, error) {
	for {
		head := c.read[:headSize]
		if _, err := io.ReadFull(c.rw, head); err != nil {
			return Message{}, err
		}
		t, n := Type(head[0]), binary.BigEndian.Uint32(head[1:])
		if n > maxBody {
			return Message{}, fmt.Errorf("%w: %d bytes", errMalformed, n)
		}
		body := c.read[:n]
		if _, err := io.ReadFull(c.rw, body); err != nil {
			return Message{}, err
		}
		if m, ok, err := Parse(t, body); ok || err != nil {
			return m, err
		}
	}
}
