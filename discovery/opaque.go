package discovery

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"github.com/swarmgate/swarmgate/wtproto"
)

// opaqueKey is random in each process, so that nobody can find the name of an id by trying names.
var opaqueKey = func() (key [32]byte) {
	rand.Read(key[:])
	return key
}()

// OpaqueID returns the [Peer.ID] of a peer that is known by name only, for example by its address.
// It has 16 bytes, which do not change while the process runs. They reveal nothing about the name,
// and differ for each network and topic.
func OpaqueID(network string, topic wtproto.Topic, name string) string {
	mac := hmac.New(sha256.New, opaqueKey[:])
	mac.Write([]byte(network))
	mac.Write([]byte{0}) // names of networks do not contain it
	mac.Write(topic[:])
	mac.Write([]byte(name))
	return string(mac.Sum(nil)[:16])
}
