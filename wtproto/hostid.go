package wtproto

import (
	"bytes"
	"math/big"
	"slices"
)

// hostPrefix begins the ids of libp2p hosts with Ed25519 keys; the key is the rest.
var hostPrefix = []byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// hostIDSize is the length of these ids.
const hostIDSize = 38

// HostID returns the id of the libp2p host that is the peer with an id, or that speaks for it, as
// libp2p writes it, such as "12D3KooWRBy9…". It is empty for other peers.
func HostID(id []byte) string {
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
