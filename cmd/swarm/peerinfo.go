package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/swarmgate/swarmgate/client"
)

// hostPrefix begins the ids of libp2p hosts with Ed25519 keys; the key is the rest.
var hostPrefix = []byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// hostIDSize is the length of these ids.
const hostIDSize = 38

// hostID returns the id of the libp2p host that is the peer id, or speaks for it, as libp2p writes
// it. It is empty for other peers.
func hostID(id []byte) string {
	if len(id) < hostIDSize || !bytes.HasPrefix(id, hostPrefix) {
		return ""
	}
	return base58(id[:hostIDSize])
}

// base58 returns b in the alphabet of Bitcoin.
func base58(b []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var out []byte
	for n, digit := new(big.Int).SetBytes(b), new(big.Int); n.Sign() > 0; {
		n.DivMod(n, big.NewInt(58), digit)
		out = append(out, alphabet[digit.Int64()])
	}
	for _, zero := range b {
		if zero != 0 {
			break
		}
		out = append(out, alphabet[0])
	}
	slices.Reverse(out)
	return string(out)
}

// peerInfo describes the other end of a circuit.
type peerInfo struct {
	ID        string `json:"id"`             // hexadecimal
	Host      string `json:"host,omitempty"` // the id as libp2p writes it
	Network   string `json:"network"`
	Address   string `json:"address,omitempty"`
	Initiator bool   `json:"initiator"`         // this end is the initiator
	Client    bool   `json:"client"`            // it is a client of a gateway
	Further   bool   `json:"further,omitempty"` // the circuit is one more with this peer
}

// newPeerInfo describes a peer with the id that it has on its network.
func newPeerInfo(id []byte, network, address string, initiator, client bool) peerInfo {
	return peerInfo{ID: hex.EncodeToString(id), Host: hostID(id), Network: network, Address: address, Initiator: initiator, Client: client}
}

// name is what people call the peer.
func (p peerInfo) name() string {
	if p.Host != "" {
		return p.Host
	}
	return p.ID
}

// short is the peer in a few characters, such as "dht 12D3…K9fQ".
func (p peerInfo) short() string { return p.Network + " " + shortID(p.name()) }

// shortID returns the ends of an id.
func shortID(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:4] + "…" + id[len(id)-4:]
}

// infoOf describes the peer of a client's circuit.
func infoOf(c *client.Conn) peerInfo { return infoOfPeer(c.Peer()) }

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
	return strings.HasPrefix(hex.EncodeToString(p.ID), strings.ToLower(string(m))) || strings.HasPrefix(hostID(p.ID), string(m))
}
