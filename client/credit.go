package client

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxCircuits = 256      // that have room in a budget
	maxReserve  = 64 << 10 // bytes of credit a circuit starts with, at most
	maxWindow   = 8 << 20  // bytes that one circuit may have granted and unread
	minBudget   = 2 * maxCircuits * wtproto.MinCredit
	maxBudget   = 1 << 40

	// promptly is how fast a quarter of a window is read, on a path of any length, when the window
	// is what holds the circuit up. On a longer path the round trip decides; on a shorter one so do
	// the delays of a busy machine.
	promptly = 5 * time.Millisecond
)

// budget shares out what the gateway may have sent and nobody has read (docs/PROTOCOL.md, Credit).
// It keeps a reserve for each of maxCircuits circuits, and the rest is a pool on which those grow
// that are read promptly. The sum over all accounts of (granted - read) is never above the sum of
// their windows, and that is never above the budget.
//
// It is accounting without I/O, locks or a clock.
type budget struct {
	reserve  int64 // constant; bytes, the least window
	free     int64 // bytes of the pool that no window has
	circuits int   // open accounts
}

// account is the credit of one circuit. Offsets count from the gateway's first byte after PEER or
// ACCEPT.
type account struct {
	open    bool
	window  int64     // bytes that may be granted and unread; what is above the reserve is from the pool
	granted int64     // offset in the last CREDIT, sent or waiting
	read    int64     // offset
	since   time.Time // when granted last rose
}

// newBudget returns a budget of total bytes, at least minBudget.
func newBudget(total int64) budget {
	reserve := min(maxReserve, total/2/maxCircuits)
	return budget{reserve: reserve, free: total - maxCircuits*reserve}
}

// open returns the account of a new circuit, unless all places are taken. HELLO granted its reserve
// already.
func (b *budget) open(now time.Time) (account, bool) {
	if b.circuits == maxCircuits {
		return account{}, false
	}
	b.circuits++
	return account{open: true, window: b.reserve, granted: b.reserve, since: now}, true
}

// close takes back all that a has. It may be called again.
func (b *budget) close(a *account) {
	if !a.open {
		return
	}
	a.open = false
	b.circuits--
	b.free += a.window - b.reserve
}

// count adds n bytes that were read. It reports whether the gateway had the credit to send them.
func (a *account) count(n int) bool {
	a.read += int64(n)
	return a.read <= a.granted
}

// due reports whether enough was read for a grant: a quarter of the window since the last one.
func (a *account) due() bool {
	return a.open && a.read+a.window-a.granted >= a.window/4
}

// grant raises a.granted if a grant is due and reports whether it did. A window that was read
// promptly doubles. It never has more than half of what the pool would have without it, so that the
// next circuit finds something; what others have taken meanwhile it gives back here.
func (b *budget) grant(a *account, now time.Time, rtt time.Duration) bool {
	if !a.due() {
		return false
	}
	window := a.window
	if now.Sub(a.since) <= max(rtt, promptly) {
		window *= 2
	}
	window = min(window, maxWindow, b.reserve+(b.free+a.window-b.reserve)/2)
	window = max(window, a.granted-a.read) // a grant cannot be taken back
	b.free += a.window - window
	a.window = window
	if !a.due() {
		return false // the window shrank
	}
	a.granted = a.read + a.window
	a.since = now
	return true
}
