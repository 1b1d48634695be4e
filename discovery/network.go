package discovery

import (
	"context"
	"io"
	"iter"
	"net/netip"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Network is one way to find and reach peers. Its methods may be called by several goroutines at
// once.
type Network interface {
	// Name returns the name that clients and operators see. It has at most [wtproto.MaxNetwork]
	// bytes, and does not change.
	Name() string

	// Join is on topic until ctx ends or the caller breaks, and yields what happens there. It does
	// not wait for the network to start or for the announcement. The first sighting may come at
	// once, hours later or never.
	//
	// A yielded error does not end the sequence: the network fails for now, and tries again. An
	// [*wtproto.Error] in the chain of the error has the code. A zero Sighting without an error
	// says that the network works, though there is nothing new. If the sequence ends before ctx
	// does, the network has given up on the topic.
	//
	// The caller must keep pulling. If it does not, the network may drop its oldest sightings.
	// When Join has returned, all its goroutines have ended. Circuits that it opened go on.
	Join(ctx context.Context, topic wtproto.Topic, presence *Presence) iter.Seq2[Sighting, error]

	// Close ends all joins and all circuits, and waits for its goroutines.
	Close() error
}

// Follower is a [Network] that calls back, so that a topic at rest needs no goroutine.
type Follower interface {
	// Follow is like Join, but returns at once. It passes to yield what Join yields, one call after
	// the other. A call of yield may wait, but not for Close. Once the caller has called leave, or
	// the network has given up, ended is called, and nothing after that. leave does not wait, and may
	// be called more than once.
	Follow(topic wtproto.Topic, presence *Presence, yield func(Sighting, error), ended func()) (leave func())
}

// Fixed is a [Network] that knows the peers of a topic before anybody joins it, and learns of no
// others. So a gateway asks for them, and does not join.
type Fixed interface {
	// Peers returns the peers of topic, which Join yields too. It does not wait for anything.
	Peers(topic wtproto.Topic) []Sighting
}

// Compound is a [Network] whose peers may count as those of other networks, such as a libp2p host
// that meets others by the DHT and on the LAN.
type Compound interface {
	// Networks returns the names that [Peer.Network] may have, its own too. They do not change,
	// and callers must not change the slice.
	Networks() []string
}

// OnRequest is a [Network] that shows strangers which topics it is asked for. A gateway is on it
// only for clients that ask for it by name.
type OnRequest interface {
	// OnRequest reports whether that is so. It does not change.
	OnRequest() bool
}

// Peer is an endpoint of somebody else on a topic.
type Peer struct {
	// Network is the name of the network that found the peer.
	Network string
	// ID identifies the peer: two Peers with the same ID are the same peer. A network makes sure
	// that no other network can speak for its ids. At most [wtproto.MaxPeerID] bytes.
	ID string
	// Address is the last known address of the peer. It is for logs, for operators, and for
	// clients if the gateway shows them addresses.
	Address string
	// Client says that the peer is a client behind another gateway, not a native peer.
	Client bool
	// Service is set if the peer is a plain service, nil for all others.
	Service *Service
}

// Service describes a peer that is a plain TCP service. A service knows nothing of topics, so it
// cannot join one anew. If it ends a circuit, the gateway opens another one after a while.
type Service struct {
	// Source says who reported the service. Two services of a topic at one address are the same
	// service. The gateway dials the one of the more trusted source.
	Source Source
	// At are the addresses of the service that are known before it is dialed. Readers must not
	// change it.
	At []netip.AddrPort
}

// ServiceAddress returns the [Peer.Address] of a plain TCP service at a.
func ServiceAddress(a netip.AddrPort) string { return "tcp://" + a.String() }

// Sighting is news of one peer: the peer is on the topic ([Sighting.Holds]), it has left
// ([Sighting.Gone]), or it asks for a circuit with us ([Sighting.Inbound]).
type Sighting struct {
	Peer Peer
	// Holds is how long the caller may remember the peer without another sighting. Negative means
	// for ever. Zero means that this sighting only brings Inbound or Gone.
	Holds time.Duration
	// PeerFoundUs is true if the peer found us. Then it is a peer for endpoints that announce. If
	// it is false, we found the peer, and it is one for endpoints that look up.
	PeerFoundUs bool
	// Gone says that the peer has left the topic. Circuits with it go on. If a later sighting says
	// that it is there, it has joined anew.
	Gone bool
	// More says that the peer's host has more endpoints than it has listed.
	More bool
	// Need says that the peer's host is in need of a circuit, as in [State.Need].
	Need bool
	// Dial opens a circuit from our endpoint from to the peer. It is nil if only the peer may open
	// circuits. It returns when the peer has answered, or with an error whose chain has an
	// [*wtproto.Error], or when ctx ends. The caller must end the stream.
	Dial func(ctx context.Context, from wtproto.EndpointID) (Stream, error)
	// Further opens one more circuit with the peer beside others from the same endpoint. Otherwise
	// it is like Dial. It is nil if the peer takes only one circuit, or if we cannot reach it now.
	// Further may be set although Dial is nil, because either side may open further circuits. In a
	// sighting with Inbound, it opens circuits with the peer that asks, even if there is no other
	// sighting of that peer. The caller of Further is the initiator.
	Further func(ctx context.Context, from wtproto.EndpointID) (Stream, error)
	// Queued is for a Sighting without a peer. It says that the network works, but is so busy that
	// the first look-up or announcement of the topic waits for its turn. A zero Sighting says that
	// it waits no longer.
	Queued bool
	// Note is for a Sighting without a peer. It is a reason why others may not find us, or we may
	// not find others, although the network works. Its chain has an [*wtproto.Error] with a reason
	// for people. A later Sighting with neither a peer nor a Note takes it back.
	Note error
	// Inbound is set if the peer asks for a circuit with us. The caller must answer it within 10
	// s. After that the network refuses it.
	Inbound Inbound
}

// Inbound is a circuit that a peer asks for.
type Inbound interface {
	// To is the one of our endpoints that the peer wants.
	To() wtproto.EndpointID
	// Further reports whether the peer wants one more circuit beside those that it has with the
	// endpoint. If not, the circuit is the pair's first circuit, and replaces an earlier one.
	Further() bool
	// Accept says yes to the peer and returns the circuit. It blocks for the time of a write.
	Accept() (Stream, error)
	// Refuse says no with code.
	Refuse(code wtproto.Code)
}

// Unsolicited is an [Inbound] to nobody in particular. The network tries one endpoint after the
// other, and does not know which of them announce.
type Unsolicited interface {
	// Unsolicited reports whether only an endpoint that announces may accept.
	Unsolicited() bool
}

// Stream is an open circuit with a peer. Read and Write may run at the same time in two
// goroutines, and the other methods unblock them. If Read or Write fails because of the peer, the
// chain of the error has an [*wtproto.Error]. If the peer reset the stream, it has Remote and the
// peer's code (CodePeerReset if there was none). If the connection was lost, it has CodePeerGone.
// The owner must end the Stream with Close or Reset.
type Stream interface {
	io.ReadWriter
	// CloseWrite ends the stream of bytes to the peer, whose Read then returns io.EOF.
	CloseWrite() error
	// Reset ends both directions at once. The peer gets the code if the network can carry one.
	Reset(code wtproto.Code)
	// Close frees the stream after both directions have ended. If it is called earlier, it is a
	// Reset with CodeNone. It may be called after Reset and more than once.
	Close() error
	// SetReadDeadline makes a blocked or later Read fail with an error that is an
	// os.ErrDeadlineExceeded at t; the zero time means never.
	SetReadDeadline(t time.Time) error
}

// Located is a [Stream] with a [Service] that knows the service's address.
type Located interface {
	// Remote returns the address that the stream is connected to, unmapped.
	Remote() netip.AddrPort
}

// Readable is a [Stream] for whose bytes nobody needs to wait in a Read.
type Readable interface {
	// OnReadable has f called, once and in a goroutine of its own, when a Read would not wait:
	// there are bytes, or the stream has ended or was closed. Until then, no Read may run, and
	// nobody may call OnReadable again. It returns false, and never calls f, if who wants to know
	// has to wait in a Read. A deadline of Read calls nothing.
	OnReadable(f func()) bool
}

// Windowed is a [Stream] that keeps arrived, unread bytes in this process, and not in the kernel.
type Windowed interface {
	// ReadWindow returns how many bytes can wait at first, and how many at most. The number
	// doubles each time that the reader has read half of it.
	ReadWindow() (initial, most int64)
}
