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

// Serve says whether a host is a server of a private DHT: others ask servers, and wait for those
// that they cannot connect to. A client only asks.
type Serve int

const (
	// ServeAuto is a client until somebody has connected to it from as far away as its seeds are.
	// A host without seeds, one that is itself among its seeds and one with addresses to announce
	// is a server from the start.
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

// distance is how far away an address is: who reaches us from the next machine may be behind the
// same firewall as we are.
type distance int

const (
	fromHere  distance = iota + 1 // this machine
	fromLink                      // a subnet of an interface
	fromSite                      // a private range
	fromWorld                     // elsewhere
)

// reach is what was seen of whether others can connect to this host. Pure accounting.
type reach struct {
	best distance            // from where somebody has connected to us at most; 0 if nobody has
	need distance            // where the seeds are, of those that we were connected with last
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

// seeds notes the connections with seeds. If all of them are from addresses of ours that had none
// before, this machine was moved, and who could connect to us there says nothing of here.
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

// serves reports whether others can connect to us, from where the seeds are at least.
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
	s.last, s.at = nil, time.Now() // others may read the old ones
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
