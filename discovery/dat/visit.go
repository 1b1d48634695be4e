package dat

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// visitWithin is how long a stranger may take to say what the connection is for.
	visitWithin = 10 * time.Second
	// maxVisits is how many connections may be unsorted at once, maxVisitsEach those of one address.
	maxVisits, maxVisitsEach = 1024, 64
	// maxGuests is how many circuits an address may have with a topic that it opened.
	maxGuests = 32
	// maxWaiting is how many connections may wait for a topic's answer.
	maxWaiting = 64
	// maxOffers is how many members are asked whether they take a connection.
	maxOffers = 64
)

// guest is a stranger on a topic.
type guest struct {
	network *network
	topic   wtproto.Topic
	from    netip.Prefix // an IPv4 address or IPv6 /64
}

// visitor is a connection that somebody else opened.
type visitor struct {
	discovery.Stream
	head   []byte // that was read already, and is read again; owned by Read
	remote netip.AddrPort
	join   *join
	id     string // of the handshake, or ""
	over   func()
}

// Read returns what was read to sort the connection, and then what follows.
func (v *visitor) Read(b []byte) (int, error) {
	if len(v.head) > 0 {
		n := copy(b, v.head)
		v.head = v.head[n:]
		return n, nil
	}
	return v.Stream.Read(b)
}

// OnReadable is that of the connection, once what was read already is read again.
func (v *visitor) OnReadable(f func()) bool {
	r, ok := v.Stream.(discovery.Readable)
	return ok && len(v.head) == 0 && r.OnReadable(f)
}

func (v *visitor) Reset(code wtproto.Code) {
	v.Stream.Reset(code)
	v.over()
}

func (v *visitor) Close() error {
	err := v.Stream.Close()
	v.over()
	return err
}

// visit sorts conn in a goroutine. If there are too many visits, the oldest of the address with
// most of them ends.
func (h *Host) visit(conn *net.TCPConn, d *door) {
	place, out := h.visits.Enter(crowd.AddrOf(conn.RemoteAddr()), conn)
	if out != nil {
		out.Who.Close()
	}
	h.routines.Go(func() {
		stop := context.AfterFunc(h.life, func() { conn.Close() })
		s, err := discovery.TCPStream(conn)
		if err != nil {
			h.visits.Leave(place)
			stop()
			return
		}
		v := &visitor{Stream: s, remote: unmapped(crowd.AddrPortOf(conn.RemoteAddr())), over: sync.OnceFunc(func() { stop() })}
		_ = s.SetReadDeadline(time.Now().Add(h.patience))
		known := h.sort(v, d)
		if !h.visits.Leave(place) || !known || s.SetReadDeadline(time.Time{}) != nil || !h.welcome(v) {
			v.Reset(wtproto.CodeDeclined)
		}
	})
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// sort reads the beginning of v, and reports whether it is known to which join v belongs.
func (h *Host) sort(v *visitor, d *door) bool {
	if d.owner != nil && d.owner.network.handshake {
		id, err := readID(v.Stream)
		if err != nil || h.turnBack(v, id) || h.echoed(appendID(nil, id), d) {
			return false
		}
		v.id, v.join = id, d.owner
		return true
	}
	b := make([]byte, 0, feedMost)
	for {
		n, err := v.Stream.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		found, topic := parseFeed(b)
		switch {
		case found == feedHere:
			v.join = h.announcer(topic)
		case found == feedNone && n > 0:
		case err != nil:
			return false
		default:
			continue
		}
		if v.join == nil {
			v.join = d.owner
		}
		if len(b) > 1 && h.turnBack(v, string(b[1:])) || h.echoed(b, d) {
			return false
		}
		v.head = b
		return v.join != nil
	}
}

// announcer returns the join that announces a topic by its discovery key: that of the whole key, or
// of its first 20 bytes. It returns nil if there is none.
func (h *Host) announcer(topic wtproto.Topic) *join {
	var short wtproto.Topic
	copy(short[:], topic[:len(id{})])
	h.mu.Lock()
	defer h.mu.Unlock()
	var found *join
	for j := range h.present[idOf(topic)] {
		switch {
		case j.network.handshake || !j.state.Announce:
		case j.topic == topic:
			return j
		case j.topic == short:
			found = j
		}
	}
	return found
}

// welcome offers v to the members of its topic, and reports whether there is room for it.
func (h *Host) welcome(v *visitor) bool {
	j := v.join
	from := guest{j.network, j.topic, crowd.Groups(v.remote.Addr())[0]}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.guests[from] >= maxGuests || len(j.inbox) >= maxWaiting {
		return false
	}
	o := &offer{host: h, visitor: v, asked: make(map[wtproto.EndpointID]bool)}
	if !o.nextLocked() {
		return false
	}
	h.guests[from]++
	stop := v.over
	v.over = sync.OnceFunc(func() {
		stop()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.guests[from]--; h.guests[from] == 0 {
			delete(h.guests, from)
		}
	})
	o.timer = time.AfterFunc(h.patience, func() {
		if o.take() {
			v.Reset(wtproto.CodeDeclined)
		}
	})
	return true
}

// offer asks members of a topic, one after the other, whether they take a connection.
type offer struct {
	host    *Host
	visitor *visitor
	timer   *time.Timer // constant after welcome

	asked map[wtproto.EndpointID]bool // guarded by Host.mu
	done  bool                        // guarded by Host.mu; somebody has taken it, or nobody does
}

// take reports whether the caller is the one that ends the offer.
func (o *offer) take() bool {
	o.host.mu.Lock()
	defer o.host.mu.Unlock()
	first := !o.done
	o.done = true
	return first
}

// nextLocked asks the next member: of those that were not asked, the one with the fewest circuits
// here. It reports whether there was one.
func (o *offer) nextLocked() bool {
	j := o.visitor.join
	if o.done || j.over || !j.state.Announce || len(o.asked) >= maxOffers {
		return false
	}
	var to wtproto.EndpointID
	fewest, ties := -1, 0
	for _, e := range j.state.Endpoints {
		if o.asked[e] {
			continue
		}
		n := o.host.counts[member{j.network, j.topic, e}]
		switch {
		case fewest < 0 || n < fewest:
			to, fewest, ties = e, n, 1
		case n == fewest:
			if ties++; rand.IntN(ties) == 0 {
				to = e
			}
		}
	}
	if fewest < 0 {
		return false
	}
	o.asked[to] = true
	j.inbox = append(j.inbox, &inbound{offer: o, to: to})
	j.updates.Wake()
	return true
}

// inbound is an offer to one member.
type inbound struct {
	offer *offer
	to    wtproto.EndpointID
}

var (
	_ discovery.Inbound     = (*inbound)(nil)
	_ discovery.Unsolicited = (*inbound)(nil)
)

// To returns the member.
func (i *inbound) To() wtproto.EndpointID { return i.to }

// Further returns false: nobody can tell.
func (i *inbound) Further() bool { return false }

// Unsolicited returns true: a stranger has found an announcement.
func (i *inbound) Unsolicited() bool { return true }

// Accept returns the circuit. In the mode of discovery-swarm it answers the peer's handshake.
func (i *inbound) Accept() (discovery.Stream, error) {
	if !i.offer.take() {
		return nil, errShut
	}
	i.offer.timer.Stop()
	v := i.offer.visitor
	h, n := i.offer.host, v.join.network
	m := member{n, v.join.topic, i.to}
	c := h.count(m, v, v.remote)
	if !n.handshake {
		return c, nil
	}
	own := h.swarmID(m)
	_, err := v.Write(appendID(nil, own))
	if err == nil {
		err = h.admit(c, shake{own, v.id}, nil)
	}
	if err != nil {
		c.Reset(codeOf(err))
		return nil, err
	}
	return c, nil
}

// Refuse asks the next member.
func (i *inbound) Refuse(wtproto.Code) {
	o := i.offer
	o.host.mu.Lock()
	next := o.nextLocked()
	o.host.mu.Unlock()
	if !next && o.take() {
		o.timer.Stop()
		o.visitor.Reset(wtproto.CodeDeclined)
	}
}

var errShut = wtproto.Errorf(wtproto.CodePeerGone, "the peer has waited for too long")

// peerOf returns the peer of a connection that was opened from remote.
func (n *network) peerOf(v *visitor) discovery.Peer {
	name := "from/" + v.remote.String()
	if n.handshake {
		name = "id/" + v.id
	}
	return discovery.Peer{Network: n.name, ID: discovery.OpaqueID(n.name, v.join.topic, name), Address: discovery.ServiceAddress(v.remote)}
}
