package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

const (
	// maxUnproven is how many connections there may be whose other host has not proven its id yet.
	// The resource manager would take more, but at its limit it refuses newcomers and keeps silent
	// connections.
	maxUnproven = 256
	// maxUnprovenAddress is how many of them may come from one IPv4 address or IPv6 /64.
	maxUnprovenAddress = 32
)

// door has the connections from others until their handshake is over. Above its limits it closes
// the oldest one of the busiest address, so that silent connections shut nobody out. The resource
// manager bounds how many connections an address makes a second (connRate).
type door = crowd.Crowd[*visitor]

func newDoor() *door { return crowd.New[*visitor](maxUnproven, maxUnprovenAddress) }

// visitor is a connection from another host.
type visitor struct {
	tcpConn
	door  *door
	place *crowd.Place[*visitor] // constant after Accept
}

// tcpConn is a connection with what libp2p wants to set on it.
type tcpConn interface {
	manet.Conn
	SetLinger(sec int) error
	SetKeepAlive(on bool) error
	SetKeepAlivePeriod(d time.Duration) error
}

// proven says that the other host has proven its id.
func (v *visitor) proven() { v.door.Leave(v.place) }

// Close closes the connection.
func (v *visitor) Close() error {
	v.door.Leave(v.place)
	return v.tcpConn.Close()
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
	from, known := plainTCP(c.RemoteMultiaddr())
	if !ok || !known {
		return c, nil
	}
	v := &visitor{tcpConn: conn, door: l.door}
	place, out := l.door.Enter(from.Addr(), v)
	v.place = place
	if out != nil {
		_ = out.Who.tcpConn.Close() // which ends its handshake
	}
	return v, nil
}
