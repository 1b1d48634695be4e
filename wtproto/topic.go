package wtproto

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// TopicSize is the length of a [Topic] in bytes.
const TopicSize = 32

// Topic is the key that peers meet on (docs/PROTOCOL.md, Topics). Anybody who knows it can join: a
// topic made from a guessable name is public, and a private one is 32 random bytes.
type Topic [TopicSize]byte

// TopicFromName returns the SHA-256 of the UTF-8 text of name.
func TopicFromName(name string) Topic { return sha256.Sum256([]byte(name)) }

// IDSize is how many bytes of a topic peers of Dat and discovery-swarm see: its id.
const IDSize = 20

// TopicFromID returns the topic of an id of 20 bytes, such as a key of 20 bytes that a program of
// discovery-swarm joins: the id and 12 zero bytes. Whoever knows 32 bytes, such as a discovery key
// of Dat, uses these as the topic, which has the same id.
func TopicFromID(id [IDSize]byte) (t Topic) {
	copy(t[:], id[:])
	return t
}

// ParseTopic reads the text form of a topic, 64 hexadecimal digits of either case.
func ParseTopic(s string) (Topic, error) {
	var t Topic
	if len(s) != 2*TopicSize {
		return t, fmt.Errorf("wtproto: topic has %d characters, want %d hexadecimal digits", len(s), 2*TopicSize)
	}
	if _, err := hex.Decode(t[:], []byte(s)); err != nil {
		return Topic{}, fmt.Errorf("wtproto: topic: %w", err)
	}
	return t, nil
}

// TopicFromText returns the topic that s spells if s is 64 hexadecimal digits, else the topic
// named s.
func TopicFromText(s string) Topic {
	if t, err := ParseTopic(s); err == nil {
		return t
	}
	return TopicFromName(s)
}

// Short returns a name for a topic that must stay secret: the first 8 hexadecimal digits of its
// [Topic.Digest].
func (t Topic) Short() string {
	d := t.Digest()
	return hex.EncodeToString(d[:4])
}

// LogValue returns [Topic.Short], so that no log shows a topic: anybody who knows it can join it.
func (t Topic) LogValue() slog.Value { return slog.StringValue(t.Short()) }

// String returns t as 64 lower-case hexadecimal digits.
func (t Topic) String() string { return hex.EncodeToString(t[:]) }

// MarshalText returns t as [Topic.String] does.
func (t Topic) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what [ParseTopic] reads.
func (t *Topic) UnmarshalText(b []byte) error {
	p, err := ParseTopic(string(b))
	if err == nil {
		*t = p
	}
	return err
}
