// Package static is the network of configured peers: plain TCP services, each on one topic.
//
// [Parse] reads the text form of a peer and [New] makes the network. Names are resolved at each
// dial. Peers that speak libp2p are configured in package p2p.
package static
