package p2p

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
)

// Serve says whether a host is a server or a client of a private DHT. Others ask servers, and lose
// time with servers that they cannot reach. A client only asks.
type Serve int

const (
	// ServeAuto makes the host a client until somebody has connected to it from as far away as its
	// seeds are. A host is a server from the start if it has no seeds, is itself among its seeds,
	// or has addresses to announce.
	ServeAuto Serve = iota
	ServeAlways
	ServeNever
)

// ParseServe reads "auto", "always" or "never".
func ParseServe(s string) (Serve, error) {
	for v := ServeAuto; v <= ServeNever; v++ {
		if s == v.String() {
			return v, nil
		}
	}
	return ServeAuto, fmt.Errorf("p2p: %q: want auto, always or never", s)
}

// String returns what [ParseServe] reads, or the number of an unknown value.
func (s Serve) String() string {
	switch s {
	case ServeAuto:
		return "auto"
	case ServeAlways:
		return "always"
	case ServeNever:
		return "never"
	default:
		return fmt.Sprintf("Serve(%d)", int(s))
	}
}

// distance is how far away an address is. A neighbour that reaches us may be behind the same
// firewall as we are.
type distance int

const (
	fromHere  distance = iota + 1 // this machine
	fromLink                      // a subnet of an interface
	fromSite                      // a private range
	fromWorld                     // elsewhere
)

// reach decides whether others can connect to this host. Pure accounting.
type reach struct {
	best distance            // the largest distance from which somebody has connected to us; 0 if nobody has
	need distance            // the distance of the seeds that we were last connected with
	via  map[netip.Addr]bool // our addresses on these connections
}

// seedConn is a connection with a seed.
type seedConn struct {
	local netip.Addr // our side
	seed  distance
}

// reached notes that somebody has connected to us. It reports whether that changed something.
func (r *reach) reached(from distance) bool {
	if from <= r.best {
		return false
	}
	r.best = from
	return true
}

// seeds notes the connections with seeds. If our address in all of them is new, this machine has
// moved, and earlier connections from others prove nothing here.
func (r *reach) seeds(conns []seedConn) {
	if len(conns) == 0 {
		return
	}
	via := make(map[netip.Addr]bool)
	need, moved := fromHere, len(r.via) > 0
	for _, c := range conns {
		via[c.local] = true
		need = max(need, c.seed)
		moved = moved && !r.via[c.local]
	}
	if moved {
		r.best = 0
	}
	r.via, r.need = via, need
}

// serves reports whether others can connect to us, at least from as far away as the seeds.
func (r *reach) serves() bool { return r.best > 0 && r.best >= r.need }

// surroundings know this machine's addresses. Any number of goroutines may use them.
type surroundings struct {
	public *discovery.Policy
	read   func() ([]net.Addr, error)

	mu   sync.Mutex
	last []netip.Prefix // guarded by mu
	at   time.Time      // guarded by mu; when last was read
}

func newSurroundings() *surroundings {
	public, _ := discovery.NewPolicy(discovery.PolicyConfig{}) // an empty config has no mistakes
	return &surroundings{public: public, read: net.InterfaceAddrs}
}

// distance returns how far away a is.
func (s *surroundings) distance(a netip.Addr) distance {
	a = a.Unmap().WithZone("")
	around := s.addrs()
	switch class := discovery.ClassOf(a, around); {
	case class == discovery.ClassLoopback, slices.ContainsFunc(around, func(p netip.Prefix) bool { return p.Addr() == a }):
		return fromHere
	case class != discovery.ClassFar:
		return fromLink
	case s.public.Check(discovery.SourcePublic, netip.AddrPortFrom(a, 1)) != nil:
		return fromSite
	}
	return fromWorld
}

// isOurs reports whether an interface of this machine has a.
func (s *surroundings) isOurs(a netip.Addr) bool { return s.distance(a) == fromHere }

// addrs returns the addresses of all interfaces with their subnets, as they are or were a moment
// ago.
func (s *surroundings) addrs() []netip.Prefix {
	const age = 2 * time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < age {
		return s.last
	}
	list, err := s.read()
	if err != nil {
		return s.last
	}
	s.last, s.at = nil, time.Now() // others may still read the old slice
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			bits, _ := n.Mask.Size()
			s.last = append(s.last, netip.PrefixFrom(ip.Unmap(), bits))
		}
	}
	return s.last
}
