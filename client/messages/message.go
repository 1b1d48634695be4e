package messages

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"
)

// Kind says what a message is. Kinds below [FirstOwn] belong to docs/MESSAGES.md.
type Kind byte

// The kinds of messages.
const (
	Hello Kind = 0 // says which program speaks; [Conn.Receive] skips it
	Text  Kind = 1 // UTF-8
	JSON  Kind = 2 // a JSON value, in UTF-8
	Bytes Kind = 3 // any bytes
)

// FirstOwn is the first kind that programs may use as they like. Their peers get these messages
// as they are.
const FirstOwn Kind = 0x40

// DefaultMaxSize is the size of the largest message unless [Config] says otherwise: 1 MiB.
const DefaultMaxSize = 1 << 20

const headSize = 5 // kind 1, size 4

// Message is one message.
type Message struct {
	Kind Kind
	// Data is the text, the JSON value or the bytes, without the head.
	Data []byte
}

// Append appends the message as it is sent to b. It checks nothing.
func (m Message) Append(b []byte) []byte {
	b = append(b, byte(m.Kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Data)))
	return append(b, m.Data...)
}

// Text returns the data as text.
func (m Message) Text() string { return string(m.Data) }

// Decode stores the JSON value of m in v, as [json.Unmarshal] does. A message of another kind is
// an error.
func (m Message) Decode(v any) error {
	if m.Kind != JSON {
		return fmt.Errorf("messages: want JSON, got a message of kind %d", m.Kind)
	}
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("messages: JSON: %w", err)
	}
	return nil
}

// check reports whether m is what its kind says.
func (m Message) check() error {
	switch {
	case (m.Kind == Text || m.Kind == JSON) && !utf8.Valid(m.Data):
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	case m.Kind == JSON && !json.Valid(m.Data):
		return fmt.Errorf("%w: not JSON", ErrMalformed)
	}
	return nil
}

// known reports whether Receive returns messages of this kind.
func (k Kind) known() bool { return k == Text || k == JSON || k == Bytes || k >= FirstOwn }

// Config sets up a [Conn]. The zero value means the defaults.
type Config struct {
	// MaxSize is the size of the largest message that is sent or received, in bytes without its
	// head. Zero means [DefaultMaxSize], a negative size means no limit but that of the length,
	// 4 GiB.
	MaxSize int
}

func (c Config) maxSize() int64 {
	switch {
	case c.MaxSize == 0:
		return DefaultMaxSize
	case c.MaxSize < 0:
		return math.MaxUint32
	}
	return min(int64(c.MaxSize), math.MaxUint32)
}
