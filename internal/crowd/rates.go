package crowd

import (
	"net/netip"
	"sync"
	"time"
)

// maxRows is how many groups of addresses [Rates] knows at once; all others share one row.
// Addresses may be forged, so there may be any number of them.
const maxRows = 1 << 16

// sweepEvery is the least time between two removals of unused rows.
const sweepEvery = time.Second

// Rates bounds how often newcomers from one group of addresses may come. Make it with [NewRates].
type Rates struct {
	perSecond float64 // negative means no limit
	burst     int
	maxRows   int
	shared    Shared

	mu    sync.Mutex
	rows  map[netip.Prefix]time.Time // guarded by mu; when a row is unused again
	swept time.Time                  // guarded by mu
}

// NewRates returns Rates of perSecond on average, and burst at once, for an IPv4 address or IPv6
// /64; four times as many for a /56, and sixteen times for a /48. A negative perSecond means no
// limit, and an address in shared has none.
func NewRates(perSecond float64, burst int, shared ...netip.Prefix) *Rates {
	return &Rates{perSecond: perSecond, burst: burst, maxRows: maxRows, shared: shared, rows: make(map[netip.Prefix]time.Time)}
}

// Allow reports whether one more may come from addr at now, and counts it if so.
func (r *Rates) Allow(addr netip.Addr, now time.Time) bool {
	if r.perSecond < 0 || r.shared.Contains(addr) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := Groups(addr)
	if len(r.rows)+len(keys) >= r.maxRows {
		r.sweepLocked(now)
	}
	full := make([]time.Time, len(keys))
	perSecond, burst := r.perSecond, float64(r.burst)
	for i, k := range keys {
		forgotten, known := r.rows[k]
		if !known && len(r.rows)+len(keys) >= r.maxRows {
			keys[i] = netip.Prefix{} // the row of all others
			forgotten = r.rows[keys[i]]
		}
		if forgotten.Before(now) {
			forgotten = now
		}
		full[i] = forgotten.Add(seconds(1 / perSecond))
		if full[i].Sub(now) > seconds(burst/perSecond) {
			return false
		}
		perSecond, burst = perSecond*Widen, burst*Widen
	}
	for i, k := range keys {
		r.rows[k] = full[i]
	}
	return true
}

// sweepLocked removes the unused rows.
func (r *Rates) sweepLocked(now time.Time) {
	if now.Sub(r.swept) < sweepEvery {
		return
	}
	r.swept = now
	for k, forgotten := range r.rows {
		if !forgotten.After(now) {
			delete(r.rows, k)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
