package p2p

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// knowsCopy reports whether h says that another host has its identity.
func knowsCopy(h *Host) bool {
	err := h.Err()
	return err != nil && strings.Contains(err.Error(), "has this host's key and id")
}

// A state directory was copied to a second machine. For everybody else the two were one host, they
// never met, and nothing said why.
func TestCopiedIdentity(t *testing.T) {
	seed := listen(t, native)
	k, _ := keys(t)
	a := listen(t, all(gateway, key(k), seeds(seed)))
	b := listen(t, all(gateway, key(k), seeds(seed)))
	am := join(t, a, presence(true, true, endpoint(1)), nil)
	join(t, b, presence(true, true, endpoint(2)), nil)
	eventually(t, "both know", func() bool { return knowsCopy(a) && knowsCopy(b) })
	am.await("that the topic tells", func(i item) bool { return i.err != nil && strings.Contains(i.err.Error(), "--state-dir") })
	if seed.Err() != nil {
		t.Errorf("the seed says %v", seed.Err())
	}
}

// The directory of the seed was copied, so a host has its own id as its seed.
func TestCopiedSeed(t *testing.T) {
	p := newPlace(t)
	seed := p.open(t)
	h := listen(t, all(gateway, key(p.key), p.seed))
	eventually(t, "both know", func() bool { return knowsCopy(h) && knowsCopy(seed) })
}

// A router that forwards our address to us is no copy.
func TestOwnAddressOutside(t *testing.T) {
	p := newPlace(t)
	inner := p.addr[len("/ip4/127.0.0.1/tcp/"):]
	outer := forwardPort(t, "127.0.0.1:"+inner)
	h := listen(t, all(key(p.key), func(c *Config) { c.Listen = []string{p.addr} }))
	before := h.copies.reached.Load()
	h.copies.suspect(suspect{addr: outer})
	eventually(t, "it has called itself", func() bool { return h.copies.reached.Load() > before && h.copies.calling.Load() == 0 })
	if err := h.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

func TestCopiesForget(t *testing.T) {
	c := newCopies()
	now := time.Now()
	a := netip.MustParseAddrPort("45.83.1.1:1")
	if !c.due(a, now) || c.due(a, now.Add(suspectEvery-1)) || !c.due(a, now.Add(suspectEvery)) {
		t.Error("a suspect is not called every so often")
	}
	for i := range 10 * maxSuspects {
		c.due(netip.AddrPortFrom(a.Addr(), uint16(i+2)), now)
	}
	if len(c.tried) > maxSuspects {
		t.Errorf("%d suspects are remembered", len(c.tried))
	}
	if !c.found(a.Addr(), now) || c.found(a.Addr(), now.Add(time.Minute)) || c.trouble() == nil {
		t.Error("a copy is not news once")
	}
	c.until = now.Add(-1)
	if c.trouble() != nil || !c.found(a.Addr(), now) {
		t.Error("a copy is remembered for ever")
	}
}
