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

// maxID is the longest id that we publish or accept, in bytes. A TXT string holds 255.
const maxID = 128

// Hosts learns which libp2p hosts are on the LAN. Its methods must not block.
type Hosts interface {
	// HostSeen says that the host id is at addrs now, best first. The policy allows them. The
	// network calls it again every 25 s as long as the host is there. Link-local addresses have a
	// zone. Our own id may come too, because another machine may have a copy of it.
	HostSeen(id string, addrs []netip.AddrPort)
	// HostGone says that the host id, for which HostSeen was called, is not on the LAN any more.
	HostGone(id string)
}

// Self describes our own libp2p host, for others on the LAN.
type Self struct {
	ID   string // its peer id in text form, at most 128 letters and digits
	Port int    // the TCP port that it listens on
}

// Config sets up a [Network]. A zero field means its documented default.
type Config struct {
	// Policy decides which addresses may be dialed, and which interfaces are the LAN. Required.
	Policy *discovery.Policy
	// Interfaces are the names of the interfaces to use, among those that are the LAN by the
	// policy. None means all of them.
	Interfaces []string
	// Self is the host to publish. Nil publishes nothing.
	Self *Self
	// Hosts learns of libp2p hosts. Nil means that the network does not look for them.
	Hosts Hosts
	// AnyHost lets a machine publish TCP services of other machines of the LAN, as avahi-publish
	// -H does. Without it a service is dialed only at the address that its answer came from.
	// Otherwise any machine could connect clients with a service that another one offers to its
	// neighbours only.
	AnyHost bool
	// Observer gets an event for each question for all services and hosts. It may be nil.
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
