package mdns

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/swarmgate/swarmgate/discovery"
)

// maxID is the longest id that is published or taken, in bytes; a TXT string holds 255.
const maxID = 128

// Hosts is told of the libp2p hosts that the LAN has. Its methods must not block.
type Hosts interface {
	// HostSeen says that the host id is at addrs now, best first, which the policy allows; it is
	// called again every 25 s as long as the host is there. Link-local addresses have a zone. Our
	// own id comes too, as another machine may have a copy of it.
	HostSeen(id string, addrs []netip.AddrPort)
	// HostGone says that the host id, of which HostSeen told, is on the LAN no more.
	HostGone(id string)
}

// Self is what is published of our own libp2p host.
type Self struct {
	ID   string // its peer id in text form, at most 128 letters and digits
	Port int    // the TCP port that it listens on
}

// Config sets up a [Network]. A zero field means its documented default.
type Config struct {
	// Policy decides what is dialed, and which interfaces are the LAN. Required.
	Policy *discovery.Policy
	// Interfaces are the names of the interfaces to use, among those that are the LAN by the
	// policy. None means all of them.
	Interfaces []string
	// Self is published. Nil publishes nothing.
	Self *Self
	// Hosts is told of libp2p hosts. Nil means that nobody looks for them.
	Hosts Hosts
	// AnyHost lets a machine publish TCP services of other machines of the LAN, as avahi-publish -H
	// does. Without it a service is dialed only at the address that its answer came from: else any
	// machine could have clients connected with what another one offers to its neighbours alone.
	AnyHost bool
	// Observer is told of each question for all services and hosts. Nil means nobody.
	Observer *discovery.Observer
	// Logger takes the log. Nil is silent.
	Logger *slog.Logger
}

// withDefaults returns c with its zero fields filled in, or every mistake in it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("mdns: config: "+format, args...))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Policy == nil {
		bad("no policy")
	}
	for _, name := range c.Interfaces {
		if name == "" {
			bad("an interface has no name")
		}
	}
	if s := c.Self; s != nil {
		if !isID(s.ID) {
			bad("self: id %q is not 1 to %d letters and digits", s.ID, maxID)
		}
		if s.Port < 1 || s.Port > 65535 {
			bad("self: port %d is not from 1 to 65535", s.Port)
		}
		own := *s
		c.Self = &own
	}
	return c, errors.Join(errs...)
}

// isID reports whether s looks like a peer id.
func isID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for _, b := range []byte(s) {
		if (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}

// instance returns the name of s in DNS, where upper and lower case are the same and a label has
// 63 bytes.
func (s *Self) instance() string {
	sum := sha256.Sum256([]byte(s.ID))
	return "swarmgate-" + hex.EncodeToString(sum[:16])
}
