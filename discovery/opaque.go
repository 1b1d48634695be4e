package discovery

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"github.com/swarmgate/swarmgate/wtproto"
)

// opaqueKey is random for the process, so that nobody can find what is behind an id by trying.
var opaqueKey = func() (key [32]byte) {
	rand.Read(key[:])
	return key
}()

// OpaqueID returns the [Peer.ID] for a peer that is known by name alone, such as its address: 16
// bytes, the same as long as the process lives, that tell nothing about name and differ from
// network to network and from topic to topic.
func OpaqueID(network string, topic wtproto.Topic, name string) string {
	mac := hmac.New(sha256.New, opaqueKey[:])
	mac.Write([]byte(network))
	mac.Write([]byte{0}) // no network's name holds it
	mac.Write(topic[:])
	mac.Write([]byte(name))
	return string(mac.Sum(nil)[:16])
}
