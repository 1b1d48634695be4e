package auth

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Request describes a client that wants a session. Token, Origin and Agent are what the client
// says.
type Request struct {
	// Token is the token of its HELLO, empty without one.
	Token []byte
	// Origin is the web origin of its page, empty for a native program.
	Origin string
	// Address is where it comes from.
	Address netip.Addr
	// Transport is "quic", "webtransport" or "websocket".
	Transport string
	// Agent is what the client calls itself.
	Agent string
}

// Grant is what a client may do. The zero Grant allows everything within the gateway's own limits,
// to nobody by name.
type Grant struct {
	// Name is the principal that is charged for what the session uses: all sessions with one name
	// share its limits. Empty means that the client's address is charged.
	Name string
	// Topics are those that may be joined. Nil means all, an empty list none.
	Topics []TopicPrefix
	// DenyAnnounce and DenyLookUp take away what JOIN asks for.
	DenyAnnounce, DenyLookUp bool
	// Networks are those on which peers may be found. Nil means all, an empty list none.
	Networks []string
	// Expires is when the session ends. Zero means never.
	Expires time.Time
	// Limits replace the gateway's.
	Limits Limits
}

// Limits bound what a principal uses. A zero field means the gateway's default, a negative one no
// limit.
type Limits struct {
	// Sessions is how many sessions it may have at once.
	Sessions int `json:"sessions,omitempty"`
	// Topics is how many topics its sessions may have joined at once, in all.
	Topics int `json:"topics,omitempty"`
	// NewTopics is how many topics a minute it may join that nobody is on.
	NewTopics int `json:"new_topics,omitempty"`
	// Circuits is how many circuits its sessions may have at once, in all.
	Circuits int `json:"circuits,omitempty"`
	// BytesPerSecond bounds the bytes of all its circuits, both ways together.
	BytesPerSecond int64 `json:"bytes_per_second,omitempty"`
	// Bytes is how many bytes its circuits may carry in all, both ways together, while the gateway
	// runs.
	Bytes int64 `json:"bytes,omitempty"`
}

// TopicPrefix is the first bytes of a topic, at most 32: all topics that begin so. 32 bytes are
// one topic.
type TopicPrefix []byte

// ParseTopicPrefix reads up to 64 hexadecimal digits, an even number, of which fewer than 64 are
// followed by "*".
func ParseTopicPrefix(s string) (TopicPrefix, error) {
	digits, open := strings.CutSuffix(s, "*")
	b, err := hex.DecodeString(digits)
	switch {
	case err != nil:
		return nil, fmt.Errorf("auth: topic %q: want hexadecimal digits", s)
	case len(b) > len(wtproto.Topic{}):
		return nil, fmt.Errorf("auth: topic %q has more than 64 digits", s)
	case !open && len(b) < len(wtproto.Topic{}):
		return nil, fmt.Errorf("auth: topic %q has fewer than 64 digits and does not end with *", s)
	}
	return b, nil
}

// String returns the form that [ParseTopicPrefix] reads.
func (p TopicPrefix) String() string {
	if len(p) < len(wtproto.Topic{}) {
		return hex.EncodeToString(p) + "*"
	}
	return hex.EncodeToString(p)
}

// AllowsTopic reports whether t may be joined.
func (g *Grant) AllowsTopic(t wtproto.Topic) bool {
	return g.Topics == nil || slices.ContainsFunc(g.Topics, func(p TopicPrefix) bool { return bytes.HasPrefix(t[:], p) })
}

// AllowsNetwork reports whether peers may be found on the network called name.
func (g *Grant) AllowsNetwork(name string) bool {
	return g.Networks == nil || slices.Contains(g.Networks, name)
}

// Expired reports whether the grant is over at now.
func (g *Grant) Expired(now time.Time) bool { return !g.Expires.IsZero() && !now.Before(g.Expires) }

// Most bytes of a name.
const maxName = 128

// Validate returns every mistake in g.
func (g *Grant) Validate() error {
	var errs []error
	if len(g.Name) > maxName || !utf8.ValidString(g.Name) || strings.ContainsFunc(g.Name, unicode.IsControl) {
		errs = append(errs, fmt.Errorf("auth: name %.200q: want at most %d bytes of UTF-8 without control characters", g.Name, maxName))
	}
	for _, p := range g.Topics {
		if len(p) > len(wtproto.Topic{}) {
			errs = append(errs, fmt.Errorf("auth: topic prefix of %d bytes, at most %d", len(p), len(wtproto.Topic{})))
		}
	}
	if slices.Contains(g.Networks, "") {
		errs = append(errs, errors.New("auth: a network has no name"))
	}
	return errors.Join(errs...)
}
