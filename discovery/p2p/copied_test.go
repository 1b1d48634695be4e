package p2p

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/sec"

	"github.com/swarmgate/swarmgate/wtproto"
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

// A call that was slow, on a busy machine, told nothing, and yet the copy was not called again for
// ten minutes. One that was called at the start, as it is our seed, never was.
func TestCopyIsSlow(t *testing.T) {
	p := newPlace(t)
	p.open(t)
	h := listen(t, all(gateway, key(p.key), func(c *Config) { c.DialTimeout = 2 * time.Second }))
	h.copies.suspect(suspect{addr: forwardSilently(t, "127.0.0.1:"+p.addr[len("/ip4/127.0.0.1/tcp/"):], 1)})
	eventually(t, "it knows the copy", func() bool { return knowsCopy(h) })
}

// A copy that called at the same moment was called again only if somebody announced it once more,
// and its record may name our address by then.
func TestCopyCallsAtTheSameMoment(t *testing.T) {
	p := newPlace(t)
	p.open(t)
	h := listen(t, all(gateway, key(p.key)))
	h.copies.suspect(suspect{addr: netip.MustParseAddrPort("127.0.0.1:" + p.addr[len("/ip4/127.0.0.1/tcp/"):])})
	eventually(t, "it calls the copy", func() bool { return h.copies.calling.Load() > 0 })
	h.copies.reached.Add(1)
	eventually(t, "it knows the copy", func() bool { return knowsCopy(h) })
}

func TestCopiesForget(t *testing.T) {
	c := newCopies()
	now := time.Now()
	a := netip.MustParseAddrPort("45.83.1.1:1")
	for i := range 10 * maxSuspects {
		c.due(suspect{addr: netip.AddrPortFrom(a.Addr(), uint16(i+2))}, now)
	}
	if len(c.calls) > maxSuspects {
		t.Errorf("%d suspects are remembered", len(c.calls))
	}
	if !c.found(a.Addr(), now) || c.found(a.Addr(), now.Add(time.Minute)) || c.trouble() == nil {
		t.Error("a copy is not news once")
	}
	c.until = now.Add(-1)
	if c.trouble() != nil || !c.found(a.Addr(), now) {
		t.Error("a copy is remembered for ever")
	}
}

// Whoever has answered is called every ten minutes; after a call that told nothing it is called
// again soon, and less and less often.
func TestSuspectIsCalledAgain(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tc := range []struct {
		name string
		err  error
		vain bool
	}{
		{"our id answers", nil, false},
		{"another id answers", fmt.Errorf("call: %w", sec.ErrPeerIDMismatch{}), false},
		{"nobody is there", refused, false},
		{"forbidden", &net.OpError{Op: "dial", Err: wtproto.Errorf(wtproto.CodeForbidden, "no")}, false},
		{"dialed in vain too often", wtproto.Errorf(wtproto.CodeRateLimited, "wait"), true},
		{"silence", context.DeadlineExceeded, true},
		{"cut off", io.EOF, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, now := newCopies(), time.Now()
			s := suspect{addr: netip.MustParseAddrPort("45.83.1.1:1")}
			if !c.due(s, now) || c.due(s, now.Add(suspectEvery-1)) {
				t.Fatal("a suspect is not called once")
			}
			low, times := suspectSoon, 0
			for {
				c.called(s.addr, tc.err, now)
				again, at, ok := c.retry()
				if !ok {
					break
				}
				if wait := at.Sub(now); again != s || wait < low || wait > 2*low {
					t.Fatalf("after %d calls %v is called after %v, want %v to %v", times+1, again, wait, low, 2*low)
				}
				if c.due(s, at.Add(-1)) || !c.due(s, at) {
					t.Fatalf("after %d calls it is not due when it is called again", times+1)
				}
				low, times, now = 2*low, times+1, at
			}
			if (times > 0) != tc.vain || times > 10 {
				t.Errorf("called again %d times", times)
			}
			if tc.vain {
				return
			}
			if c.due(s, now.Add(suspectEvery-1)) || !c.due(s, now.Add(suspectEvery)) {
				t.Error("a suspect that answered is not called every so often")
			}
		})
	}
}
