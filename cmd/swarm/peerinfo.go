package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// peerInfo describes the other end of a circuit.
type peerInfo struct {
	ID        string `json:"id"`             // hexadecimal
	Host      string `json:"host,omitempty"` // the id as libp2p writes it
	Network   string `json:"network"`
	Address   string `json:"address,omitempty"`
	Initiator bool   `json:"initiator"`         // this end is the initiator
	Client    bool   `json:"client"`            // it is a client of a gateway
	Further   bool   `json:"further,omitempty"` // the circuit is one more with this peer
	Key       string `json:"key,omitempty"`     // its static key in a secret room
}

// newPeerInfo describes a peer with the id that it has on its network.
func newPeerInfo(id []byte, network, address string, initiator, client bool) peerInfo {
	return peerInfo{ID: hex.EncodeToString(id), Host: wtproto.HostID(id), Network: network, Address: address, Initiator: initiator, Client: client}
}

// name is what people call the peer.
func (p peerInfo) name() string {
	if p.Host != "" {
		return p.Host
	}
	return p.ID
}

// short is the peer in a few characters, such as "dht 12D3…K9fQ".
func (p peerInfo) short() string {
	id, _ := hex.DecodeString(p.ID)
	return client.Peer{Network: p.Network, ID: id, Client: p.Client}.Short()
}

// shortID returns the ends of an id.
func shortID(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:4] + "…" + id[len(id)-4:]
}

// infoOfPeer describes a client's peer.
func infoOfPeer(p client.Peer) peerInfo {
	d := newPeerInfo(p.ID, p.Network, p.Address, p.Initiator, p.Client)
	d.Further = p.Further
	return d
}

// peerPattern says which peers are meant, by the beginning of their id. Empty means all.
type peerPattern string

// minPattern is how many digits of an id must be given, so that few peers are meant by chance.
const minPattern = 6

// UnmarshalText reads hexadecimal digits, or the id of a libp2p host.
func (m *peerPattern) UnmarshalText(b []byte) error {
	if len(b) < minPattern {
		return fmt.Errorf("%q: want at least %d characters of an id", b, minPattern)
	}
	*m = peerPattern(b)
	return nil
}

// is reports whether p is meant.
func (m peerPattern) is(p client.Peer) bool {
	return strings.HasPrefix(hex.EncodeToString(p.ID), strings.ToLower(string(m))) || strings.HasPrefix(wtproto.HostID(p.ID), string(m))
}
