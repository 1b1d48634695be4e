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
	// Name is what clients and operators see: at most [wtproto.MaxNetwork] bytes, and the same for
	// the life of the network.
	Name() string

	// Join is on topic until ctx ends or the caller breaks, and yields what happens there. It does
	// not wait for the network to start or for the announcement: the first sighting may come at
	// once, hours later or never.
	//
	// A yielded error is news, not the end: the network is failing, says why, and goes on trying;
	// an [*wtproto.Error] in its chain gives the code. A zero Sighting without an error says that
	// it works, though there is nothing new. Where the sequence ends before ctx, the network has
	// given up on the topic.
	//
	// The caller keeps pulling: a network may drop the oldest sightings of a caller that does not.
	// When Join has returned, none of its goroutines is left; circuits that it opened live on.
	Join(ctx context.Context, topic wtproto.Topic, presence *Presence) iter.Seq2[Sighting, error]

	// Close ends all joins and all circuits, and waits for its goroutines.
	Close() error
}

// Fixed is a [Network] that knows beforehand which peers a topic has.
type Fixed interface {
	// Peers returns the peers of topic, which Join yields too. It does not wait for anything.
	Peers(topic wtproto.Topic) []Sighting
}

// Compound is a [Network] whose peers may count as those of other networks, such as a libp2p host
// that meets others by the DHT and on the LAN.
type Compound interface {
	// Networks returns the names that [Peer.Network] may have, its own too. They are the same for
	// the life of the network. Not to be changed.
	Networks() []string
}

// Peer is an endpoint on a topic that is not ours.
type Peer struct {
	// Network is the name of the network on which it was found.
	Network string
	// ID names the peer, and the same peer always by the same bytes: two Peers with one ID are
	// one. A network makes sure that no other network can speak for its ids. At most
	// [wtproto.MaxPeerID] bytes.
	ID string
	// Address is where it was seen last, for logs, operators, and clients where addresses are
	// shown.
	Address string
	// Client says that the peer is a client behind another gateway, not a native peer.
	Client bool
	// Service is set if the peer is a plain service, nil for all others.
	Service *Service
}

// Service says that a peer is a plain TCP service. It knows nothing of topics, so it cannot join
// one anew, and a circuit that it has ended is made again after a while.
type Service struct {
	// Source says who told of the service. If two of a topic are at one address, they are one
	// service, and that of the more trusted source is dialed.
	Source Source
	// At are the addresses of the service, as far as they are known before it is dialed. Not to be
	// changed.
	At []netip.AddrPort
}

// ServiceAddress returns the [Peer.Address] of a plain TCP service at a.
func ServiceAddress(a netip.AddrPort) string { return "tcp://" + a.String() }

// Sighting is news of one peer: it is there ([Sighting.Holds]), it is gone ([Sighting.Gone]), or
// it opened a circuit to us ([Sighting.Inbound]).
type Sighting struct {
	Peer Peer
	// Holds is how long the peer may be remembered without another sighting. Negative means for
	// ever, zero that this sighting only brings Inbound or Gone.
	Holds time.Duration
	// FoundUs says that the peer found us, so that it is for those who announce; else we found it,
	// and it is for those who look up.
	FoundUs bool
	// Gone says that the peer left the topic. Circuits with it live on. A peer that is seen again
	// after Gone joined anew.
	Gone bool
	// More says that the peer's host has more endpoints than it tells of.
	More bool
	// Need says that the peer's host is in need of a circuit, as in [State.Need].
	Need bool
	// Dial opens a circuit from our endpoint from to the peer. It is nil where only the peer may
	// open circuits. It returns after the peer answered, or with an error whose chain holds an
	// [*wtproto.Error], within ctx. The stream is the caller's to end.
	Dial func(ctx context.Context, from wtproto.EndpointID) (Stream, error)
	// Further opens one more circuit beside others from the same endpoint, as Dial does otherwise.
	// It is nil if the peer takes one circuit only, or cannot be reached just now. Further may be
	// set although Dial is nil: further circuits may be opened by either side. With Inbound it
	// leads to the peer that asks, also if there is no other sighting of it. Whoever has called it
	// is the initiator.
	Further func(ctx context.Context, from wtproto.EndpointID) (Stream, error)
	// Queued says, in a Sighting without a peer, that the network works, but has so much to do
	// that its first look-up or announcement of the topic waits for its turn. A zero Sighting says
	// that it does not wait any more.
	Queued bool
	// Note, in a Sighting without a peer, is what may keep others from finding us, or us from
	// finding others, though the network works, an [*wtproto.Error] whose reason is for people. A
	// Sighting without a peer and a Note takes it back.
	Note error
	// Inbound is set where the peer opened a circuit to us. The caller answers it once, or the
	// network refuses it after 10 s.
	Inbound Inbound
}

// Inbound is a circuit that a peer asks for.
type Inbound interface {
	// To is the one of our endpoints that the peer wants.
	To() wtproto.EndpointID
	// Further reports whether the peer wants one more circuit beside those that it has with the
	// endpoint. Else the circuit is the pair's first, and replaces the one before.
	Further() bool
	// Accept says yes to the peer and returns the circuit. It blocks for the time of a write.
	Accept() (Stream, error)
	// Refuse says no with code.
	Refuse(code wtproto.Code)
}

// Stream is an open circuit with a peer. Read and Write may run at the same time in two
// goroutines, and the other methods unblock them. The errors of Read and Write that are no io.EOF,
// no timeout and not the caller's own doing hold an [*wtproto.Error] in their chain: with Remote
// and the peer's code where the peer reset (CodePeerReset where it gave none), with CodePeerGone
// where the connection was lost. Whoever has the Stream ends it with Close or Reset.
type Stream interface {
	io.ReadWriter
	// CloseWrite ends the stream of bytes to the peer, whose Read then returns io.EOF.
	CloseWrite() error
	// Reset ends both directions at once; the peer gets the code where the network can carry one.
	Reset(code wtproto.Code)
	// Close frees the stream after both directions have ended; earlier it is a Reset with
	// CodeNone. It may be called after Reset and more than once.
	Close() error
	// SetReadDeadline makes a blocked or later Read fail with an error that is an
	// os.ErrDeadlineExceeded at t; the zero time means never.
	SetReadDeadline(t time.Time) error
}

// Located is a [Stream] with a [Service] that knows where that is.
type Located interface {
	// Remote returns the address that the stream is connected to, unmapped.
	Remote() netip.AddrPort
}

// Windowed is a [Stream] of which the bytes that have arrived and were not read are in this
// process, and not in the kernel.
type Windowed interface {
	// ReadWindow returns how many these can be at first, and how many at most, in bytes. In
	// between they can be twice as many each time that half of as many as before were read.
	ReadWindow() (initial, most int64)
}
