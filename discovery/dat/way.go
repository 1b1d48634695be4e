package dat

import (
	"context"
	"encoding/hex"
	"net/netip"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// id is the name of a topic among old peers: the first 20 bytes of the topic.
type id [20]byte

// idOf returns the id of topic.
func idOf(topic wtproto.Topic) id { return id(topic[:20]) }

// String returns the 40 digits that dns-discovery writes into names.
func (i id) String() string { return hex.EncodeToString(i[:]) }

// address is an address at which a way found a peer. A stranger may have chosen it, so it is to be
// checked with the policy before it is dialed.
type address struct {
	at     netip.AddrPort // unmapped, never with port 0
	source discovery.Source
	// through is the name of the interface that a LAN address was heard on, for
	// [discovery.Through]; empty for other addresses.
	through string
}

// way is one way to find the peers of an id, and to be found by them. Any number of goroutines may
// use it.
type way interface {
	// name returns a word for logs and metrics, such as "mainline". It does not change.
	name() string

	// follow is on the id until ctx ends. While presence says LookUp, it looks up, again and
	// again; while presence says Announce and port is not 0, it announces port. Before it returns,
	// within a second after ctx has ended, it withdraws what it announced, as far as the way
	// knows that. An id may be followed several times at once, with different ports.
	//
	// follow calls found for each address that it finds, with the same address again and again.
	// It calls report with nil once it works, and with an error when it fails for now; it then
	// tries again by itself. Both are called by goroutines that follow waits for, several at once,
	// and must not block.
	follow(ctx context.Context, id id, presence *discovery.Presence, port uint16, found func(address), report func(error))

	// close ends every follow, and waits for the goroutines of the way.
	close()
}
