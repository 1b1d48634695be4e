package p2p

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// place is where a seed is, though it may not be there now.
type place struct {
	key  ed25519.PrivateKey
	addr string // without id
	id   peer.ID
}

// newPlace returns one on a port of loopback that is free.
func newPlace(t testing.TB) place {
	t.Helper()
	k, _ := keys(t)
	id, err := peer.IDFromPrivateKey(p2pKey(t, k))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return place{k, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port), id}
}

// seed has a host enter by p.
func (p place) seed(c *Config) { c.Seeds = append(c.Seeds, p.addr+"/p2p/"+p.id.String()) }

// open starts the host that is there.
func (p place) open(t testing.TB) *Host {
	t.Helper()
	return listen(t, all(key(p.key), func(c *Config) { c.Listen = []string{p.addr} }))
}

// Two gateways knew each other when their seed was restarted, so they never went back to it: it
// knew nobody, and who entered by it found nobody for as long as one looked.
func TestSeedIsBack(t *testing.T) {
	p := newPlace(t)
	seed := p.open(t)
	a, b := listen(t, all(gateway, p.seed)), listen(t, all(gateway, p.seed))
	am := join(t, a, presence(true, true, endpoint(1)), nil)
	join(t, b, presence(true, true, endpoint(2)), nil)
	am.await("the other gateway", isPeer(b, endpoint(2)))
	eventually(t, "they know each other", func() bool { return a.Known() == 2 && b.Known() == 2 })
	if err := seed.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they miss it", func() bool { return a.Known() == 1 && b.Known() == 1 && a.Err() != nil && b.Err() != nil })
	seed = p.open(t)
	eventually(t, "the seed knows both", func() bool { return seed.Known() == 2 })
	nm := join(t, listen(t, all(gateway, p.seed)), presence(true, true, endpoint(3)), nil)
	nm.await("the first gateway", isPeer(a, endpoint(1)))
}

// Of two seeds one was down at the start. Nobody tried it again, so those who entered by it were
// on an island.
func TestSecondSeedComesLater(t *testing.T) {
	first, second := newPlace(t), newPlace(t)
	first.open(t)
	a := listen(t, all(gateway, first.seed, second.seed))
	m := join(t, a, presence(true, true, endpoint(1)), nil)
	eventually(t, "the first is known", func() bool { return a.Known() == 1 })
	eventually(t, "the second is missed", func() bool { return a.Err() != nil && a.MissingSeeds() == 1 })
	m.await("the seed that does not answer", func(i item) bool { return strings.Contains(text(i.sighting.Note), "1 of 2 seeds") })
	second.open(t)
	eventually(t, "both are known", func() bool { return a.Known() == 2 && a.Err() == nil })
	m.await("that all is well", func(i item) bool { return isRecovery(i) && i.sighting.Note == nil })
	nm := join(t, listen(t, all(gateway, second.seed)), presence(true, true, endpoint(3)), nil)
	nm.await("who was there before", isPeer(a, endpoint(1)))
}
