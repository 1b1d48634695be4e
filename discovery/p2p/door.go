package p2p

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxUnproven is how many connections there may be of which the other host has not proven its id yet. It is less than
// the resource manager takes, which refuses newcomers and keeps whoever was silent first.
const maxUnproven = 256

// door looks after connections that others made until their handshake is over. Above its limit the oldest one from the
// busiest address (IPv4 /32, IPv6 /64) is closed, so that whoever says nothing shuts nobody out. How many handshakes an address may begin
// a second is the resource manager's: connRate.
type door struct {
	limit int

	mu    sync.Mutex
	count int                         // guarded by mu
	from  map[netip.Prefix]*list.List // guarded by mu; of *visitor, the oldest in front, never empty
}

func newDoor(limit int) *door {
	return &door{limit: limit, from: make(map[netip.Prefix]*list.List)}
}

// enter counts v, and returns the one that has to leave for it, if any.
func (d *door) enter(v *visitor) (out *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count >= d.limit {
		out = d.oldestLocked()
		d.leaveLocked(out)
	}
	of := d.from[v.source]
	if of == nil {
		of = list.New()
		d.from[v.source] = of
	}
	v.place = of.PushBack(v)
	v.since = time.Now()
	d.count++
	return out
}

// leave says that v has proven its id, or is closed. It may be called more than once.
func (d *door) leave(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveLocked(v)
}

func (d *door) leaveLocked(v *visitor) {
	if v.place == nil {
		return
	}
	of := d.from[v.source]
	of.Remove(v.place)
	v.place = nil
	d.count--
	if of.Len() == 0 {
		delete(d.from, v.source)
	}
}

// oldestLocked returns the oldest of those who are from where most are from; of several such addresses, the oldest of all.
func (d *door) oldestLocked() (oldest *visitor) {
	most := 0
	for _, of := range d.from {
		front := of.Front().Value.(*visitor)
		if of.Len() > most || of.Len() == most && front.since.Before(oldest.since) {
			most, oldest = of.Len(), front
		}
	}
	return oldest
}

// visitor is a connection that somebody made.
type visitor struct {
	tcpConn
	door   *door
	source netip.Prefix

	place *list.Element // guarded by door.mu; nil unless it is counted
	since time.Time     // guarded by door.mu
}

// tcpConn is a connection with what libp2p wants to set on it.
type tcpConn interface {
	manet.Conn
	SetLinger(sec int) error
	SetKeepAlive(on bool) error
	SetKeepAlivePeriod(d time.Duration) error
}

// Close closes the connection.
func (v *visitor) Close() error {
	v.door.leave(v)
	return v.tcpConn.Close()
}

// sourceOf returns the address that m counts for.
func sourceOf(c manet.Conn) (netip.Prefix, bool) {
	addr, ok := plainTCP(c.RemoteMultiaddr())
	if !ok {
		return netip.Prefix{}, false
	}
	bits := 32
	if addr.Addr().Is6() {
		bits = 64
	}
	p, err := addr.Addr().Prefix(bits)
	return p, err == nil
}

// guardedUpgrader puts a door before every listener.
type guardedUpgrader struct {
	transport.Upgrader
	door *door
}

// GateMaListener returns l as libp2p wants it.
func (u guardedUpgrader) GateMaListener(l manet.Listener) transport.GatedMaListener {
	return u.Upgrader.GateMaListener(guardedListener{l, u.door})
}

type guardedListener struct {
	manet.Listener
	door *door
}

// Accept returns the next connection.
func (l guardedListener) Accept() (manet.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn, ok := c.(tcpConn)
	source, known := sourceOf(c)
	if !ok || !known {
		return c, nil
	}
	v := &visitor{tcpConn: conn, door: l.door, source: source}
	if out := l.door.enter(v); out != nil {
		_ = out.tcpConn.Close() // which ends its handshake
	}
	return v, nil
}
