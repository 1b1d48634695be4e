// Package p2p is a libp2p host that finds the hosts of a topic and opens circuits with them: on a
// Kademlia DHT (go-libp2p-kad-dht), on the LAN, and at configured addresses. It implements
// [discovery.Network], for a gateway that speaks for its clients as well as for a native peer that
// speaks for itself.
//
// [Listen] takes a [Config] and starts a [Host]. [Host.Join] is on a topic for as long as its
// caller ranges over it. Hosts that meet on a topic tell each other their endpoints on the one
// control stream that they have for all topics (HOST, MEET), and exactly one of the two opens the
// circuits (OPEN); docs/PROTOCOL.md has the bytes. Connections are TCP with Noise and yamux and
// nothing else: they have no window that streams share, so a circuit that is not read cannot hold
// up another one.
//
// The [discovery.Policy] checks every address before it is dialed, also those that the DHT dials
// by itself. Only names in the configuration are resolved. The exported part of this package has
// no types of libp2p.
package p2p
