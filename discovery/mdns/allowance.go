package mdns

import (
	"sync"
	"time"
)

const (
	// standing is how long ago we must have heard an origin first for it to be a known one.
	standing = 10 * time.Second
	// allowanceWindow is the time over which origins are counted.
	allowanceWindow = 10 * time.Second
)

// allowances bound the work that packets cause: for each origin, and for all together. Anybody can
// make up origins, so they share the total. If half of it is used up, each origin gets an equal
// part of what is added, and no more. If three quarters are used up, only known origins get
// anything, in equal parts. So neither one loud origin nor a thousand made-up ones silence a quiet
// one, and known origins go on. Any number of goroutines may use it.
type allowances struct {
	perSecond, atOnce float64 // of one origin
	all, allAtOnce    float64

	// guarded by mu
	mu     sync.Mutex
	left   float64 // of allAtOnce
	at     time.Time
	began  time.Time // of the window
	now    window
	before window
}

// window holds the origins of a while.
type window struct {
	all   map[origin]*use // at most 2*maxOrigins
	known int             // of these
}

// use is what one origin has used.
type use struct {
	left  float64 // of atOnce
	share float64 // of an equal part of all for a second; negative after a larger use
	at    time.Time
	known bool // counted as such in its window
}

// newAllowances returns allowances of perSecond on average and atOnce for each origin, and of all
// times as much for all origins together.
func newAllowances(perSecond, atOnce, all int) *allowances {
	return &allowances{
		perSecond: float64(perSecond), atOnce: float64(atOnce), all: float64(perSecond * all), allAtOnce: float64(atOnce * all),
		left: float64(atOnce * all), now: window{all: make(map[origin]*use)},
	}
}

// take reports whether origin o may cause n more, and counts them if so. known says that we heard
// o first long ago.
func (a *allowances) take(o origin, n int, known bool, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turnLocked(now)
	u, more := a.useLocked(o, now), float64(n)
	sharers := max(len(a.now.all), len(a.before.all))
	if known {
		if !u.known {
			u.known = true
			a.now.known++
		}
		sharers = max(a.now.known, a.before.known)
	}
	part, passed := a.all/float64(sharers), max(now.Sub(u.at), 0).Seconds()
	a.left = min(a.left+a.all*max(now.Sub(a.at), 0).Seconds(), a.allAtOnce)
	u.left = min(u.left+a.perSecond*passed, a.atOnce)
	u.share = min(u.share+part*passed, part)
	a.at, u.at = now, now
	rest := a.left - more
	switch {
	case u.left < more || rest < 0:
		return false
	case rest >= a.allAtOnce/2:
	case u.share <= 0, rest < a.allAtOnce/4 && !known:
		return false
	}
	a.left, u.left, u.share = rest, u.left-more, max(u.share-more, -more)
	return true
}

// turnLocked begins a new window if the last one is over, or holds too many origins.
func (a *allowances) turnLocked(now time.Time) {
	if now.Sub(a.began) >= allowanceWindow || len(a.now.all) >= 2*maxOrigins {
		a.before, a.now, a.began = a.now, window{all: make(map[origin]*use)}, now
	}
}

// useLocked returns what o has used.
func (a *allowances) useLocked(o origin, now time.Time) *use {
	u := a.now.all[o]
	if u == nil {
		if u = a.before.all[o]; u == nil {
			u = &use{left: a.atOnce, share: a.all, at: now}
		}
		u.known = false
		a.now.all[o] = u
	}
	return u
}
