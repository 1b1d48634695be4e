package server

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats is what there is in a [Server] at one moment, for gauges. Its parts are counted one after
// the other, each of them exactly, so a session that ends meanwhile may be missing from one and
// counted in the next.
type Stats struct {
	// Sessions are those that have been welcomed, by [SessionInfo.Transport].
	Sessions map[string]int
	// Visits are connections without a session: those that have not said HELLO yet, and HTTP/3
	// requests.
	Visits int
	// Topics are those that somebody is on, TopicsInGrace those that everybody has left and that
	// still run.
	Topics, TopicsInGrace int
	// Places are the circuits that sessions have places for: open, opening and offered. A circuit
	// between two clients has two.
	Places int
	// Networks has what happens with the peers of each network that has had a circuit, and of
	// [wtproto.NetworkClient].
	Networks map[string]NetworkStats
	// Dials are running, DialsWaiting are turns to dial that subscriptions wait for: one each, and
	// one for each further circuit that was asked for.
	Dials, DialsWaiting int
	// Principals are the names of grants and the IPv4 addresses and IPv6 /64s that are known,
	// those that hold nothing any more too until they are forgotten. PrincipalsAtLimit are those
	// of them, and of the groups around the /64s, that were refused something at a limit of their
	// own and have given nothing of it back since.
	Principals, PrincipalsAtLimit int
	// Outbox is how many bytes of control frames wait to be sent.
	Outbox int64
	// Memory is how many bytes of memory Go needed when it collected garbage last, as seen a tenth
	// of a second ago or less; 0 before Serve. From MemoryFull on nobody who has sessions or
	// circuits gets further ones, from MemoryOver on circuits that wait are ended.
	Memory, MemoryFull, MemoryOver int64
}

// NetworkStats is the part of [Stats] about one network.
type NetworkStats struct {
	// Circuits are those over which bytes can pass.
	Circuits int
	// ToClient and ToPeer are the bytes that clients and peers took since the server was made,
	// those of running circuits included. Of a circuit between two clients, the peer is the one
	// that was chosen.
	ToClient, ToPeer int64
}

// Stats counts. It looks at each session, topic and principal once, which takes about 6 ms with
// 10,000 of each: cheap enough for every few seconds. Any goroutine may call it at any time, but
// not an [Observer].
func (s *Server) Stats() Stats {
	st := Stats{Sessions: make(map[string]int)}
	s.mu.Lock()
	for ses := range s.live {
		st.Sessions[ses.link.transport()]++
		st.Outbox += ses.unsent()
	}
	s.mu.Unlock()
	st.Topics, st.TopicsInGrace = s.router.counts()
	st.Networks = s.router.meters.stats()
	for _, d := range []*dialer{s.router.dialer, s.router.furthers} {
		running, waiting := d.counts()
		st.Dials, st.DialsWaiting = st.Dials+running, st.DialsWaiting+waiting
	}
	c := s.ledger.census()
	m := s.router.memory
	st.Memory, st.MemoryFull, st.MemoryOver = m.inUse.Load(), m.budget.full, m.budget.over
	st.Visits, st.Places = s.visits.Len(), int(c.total[resourceCircuits])
	st.Principals, st.PrincipalsAtLimit = c.principals, c.full
	return st
}

// unsent returns how many bytes of control frames wait to be sent.
func (s *session) unsent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.out.size)
}

// behind reports whether the client leaves so many bytes unread that offers of others could end
// its session.
func (s *session) behind() bool {
	return s.cfg.MaxControlBytes >= 0 && s.unsent() > int64(s.cfg.MaxControlBytes/2)
}

// counts returns how many topics somebody is on, and how many everybody has left.
func (r *router) counts() (joined, inGrace int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.topics {
		if t.subscribers > 0 {
			joined++
		}
	}
	return joined, len(r.topics) - joined
}

// counts returns how many dials run and wait.
func (r *dialer) counts() (running, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.queue.topics {
		waiting += c.waiting
	}
	return r.queue.running, waiting
}

// census is what a ledger counts in all.
type census struct {
	total            [numResources]int64
	principals, full int
}

// census counts the rows.
func (l *ledger) census() census {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := census{total: l.total}
	for a, r := range l.rows {
		if a.narrowest() {
			c.principals++
		}
		if r.full != [numResources]bool{} {
			c.full++
		}
	}
	return c
}

// narrowest reports whether a is the account by which a principal is known: its name, its /32 or
// /64, or its connection by a balancer.
func (a account) narrowest() bool {
	return !a.balancer && (a.name != "" || a.addresses.Bits() == 32 && a.addresses.Addr().Is4() || a.addresses.Bits() == 64 || a.port != 0)
}

// meter counts the bytes of one network's circuits while they move.
type meter struct {
	circuits         atomic.Int64
	toClient, toPeer atomic.Int64
}

// meters has the meter of each network.
type meters struct {
	mu  sync.Mutex
	all map[string]*meter // guarded by mu
}

func newMeters() *meters { return &meters{all: make(map[string]*meter)} }

// of returns the meter of a network.
func (m *meters) of(network string) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[network] == nil {
		m.all[network] = &meter{}
	}
	return m.all[network]
}

// measure counts c, whose bytes have not begun to move, until what it returns is called.
func (m *meters) measure(c *circuit) (end func()) {
	of := m.of(c.network)
	of.circuits.Add(1)
	c.toClient.Total, c.toPeer.Total = &of.toClient, &of.toPeer
	return func() { of.circuits.Add(-1) }
}

// stats returns what the meters say.
func (m *meters) stats() map[string]NetworkStats {
	m.mu.Lock()
	all := maps.Clone(m.all)
	m.mu.Unlock()
	out := make(map[string]NetworkStats, len(all))
	for network, m := range all {
		out[network] = NetworkStats{
			Circuits: int(m.circuits.Load()), ToClient: m.toClient.Load(), ToPeer: m.toPeer.Load(),
		}
	}
	return out
}
