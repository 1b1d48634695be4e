package dat

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/swarmgate/swarmgate/discovery"
)

// Config sets up a [Host]. A zero field means its documented default.
type Config struct {
	// Policy decides about each dial, and is told the listeners. Required.
	Policy *discovery.Policy
	// Bootstrap are nodes of the mainline DHT ("host:port") by which to enter it. Nil means the
	// public ones. If it is empty and not nil, the DHT is not used.
	Bootstrap []string
	// DNS are servers of dns-discovery ("host:port"). Without one that way is not used.
	DNS []string
	// Multicast finds peers of the LAN too, by the multicast form of dns-discovery.
	Multicast bool
	// Listen is the address ("host:port") of the shared port: its TCP port takes connections of
	// all topics of the network dat, its UDP port is that of the DHT. Empty means that there is no
	// shared port.
	Listen string
	// Ports are ports for one topic each. The zero value means none.
	Ports PortRange
	// Observer gets the host's events. It may be nil.
	Observer *discovery.Observer
	// Logger gets the host's log lines. Nil means none.
	Logger *slog.Logger
}

// validate returns every mistake in c.
func (c *Config) validate() error {
	var errs []error
	if c.Policy == nil {
		errs = append(errs, errors.New("dat: config: no policy"))
	}
	for what, addrs := range map[string][]string{"bootstrap": c.Bootstrap, "dns": c.DNS} {
		for _, a := range addrs {
			if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" || port == "0" {
				errs = append(errs, fmt.Errorf("dat: config: %s %q: want HOST:PORT", what, a))
			}
		}
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			errs = append(errs, fmt.Errorf("dat: config: listen %q: want HOST:PORT", c.Listen))
		}
	}
	return errors.Join(errs...)
}

// listenHost returns the host on which the ports of topics listen: that of the shared port.
func (c *Config) listenHost() string {
	host, _, _ := net.SplitHostPort(c.Listen) // without an address: all
	return host
}

// PortRange are the ports from First to Last. The zero value has none.
type PortRange struct{ First, Last uint16 }

// maxPorts is how many ports a [PortRange] may have. All of them count as our own.
const maxPorts = 10_000

// ParsePortRange reads "first-last", or one port.
func ParsePortRange(s string) (PortRange, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	switch {
	case err1 != nil || err2 != nil || first == 0:
		return PortRange{}, fmt.Errorf("%q is not a range of ports such as 40000-40099", s)
	case last < first:
		return PortRange{}, fmt.Errorf("%q: the range ends before it begins", s)
	case last-first >= maxPorts:
		return PortRange{}, fmt.Errorf("%q: more than %d ports", s, maxPorts)
	}
	return PortRange{uint16(first), uint16(last)}, nil
}

// String returns what [ParsePortRange] reads, "" for no ports.
func (r PortRange) String() string {
	if r.size() == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// size returns how many ports there are.
func (r PortRange) size() int {
	if r.First == 0 {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}
