package mdns

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// allowances bound what is done because of what is heard: for each origin, and for all together. Origins may be made up,
// so only so many are told apart; the allowance of all bounds what these can do. Any number of goroutines may use it.
type allowances struct {
	perSecond rate.Limit // of one origin
	atOnce    int        // of one origin
	all       *rate.Limiter

	mu  sync.Mutex
	own map[origin]*rate.Limiter // guarded by mu
}

// newAllowances returns allowances of perSecond on average and atOnce for each origin, and of so many times as much for all.
func newAllowances(perSecond rate.Limit, atOnce, all int) *allowances {
	return &allowances{
		perSecond: perSecond, atOnce: atOnce, all: rate.NewLimiter(perSecond*rate.Limit(all), atOnce*all),
		own: make(map[origin]*rate.Limiter),
	}
}

// take reports whether n more are allowed because of what o said, and counts them if so.
func (a *allowances) take(o origin, n int, now time.Time) bool {
	a.mu.Lock()
	own := a.own[o]
	if own == nil {
		if len(a.own) >= 2*maxOrigins {
			clear(a.own)
		}
		own = rate.NewLimiter(a.perSecond, a.atOnce)
		a.own[o] = own
	}
	a.mu.Unlock()
	return own.AllowN(now, n) && a.all.AllowN(now, n)
}
