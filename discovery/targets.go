package discovery

import (
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Failed dials that one target may get: some at once, and then slowly more. A target on the LAN,
// or in a range that the operator allows, gets several times as many. All targets together get
// more than the failed dials of one principal at eight addresses each.
const (
	targetBurst  = 32
	targetEvery  = 5 * time.Second
	targetTrust  = 16
	targetsBurst = 16_384
	targetsEvery = 2500 * time.Microsecond
	// targetsSwept is the least number of targets at which targets without failed dials are
	// removed.
	targetsSwept = 1024
)

// targets counts failed dials, so that nobody can make this process attack a third party by
// writing its addresses into a DHT or on a LAN. Pure accounting; the zero value is ready. Any
// number of goroutines may use it.
type targets struct {
	mu      sync.Mutex
	all     failures             // guarded by mu
	payers  map[any]float64      // guarded by mu; of all, those of each payer, in units of scale
	scale   float64              // guarded by mu; the factor by which all in payers have decreased
	each    map[target]*failures // guarded by mu
	sweepAt int                  // guarded by mu
}

// target is a set of addresses that probably belong to one party: an IPv4 address, an IPv6 /64, or
// on a link, where neighbours share the /64, one IPv6 address.
type target struct {
	prefix netip.Prefix
	zone   string // of a link-local address
}

// targetOf returns the target of ip, which is on a link that we are on if onLink is true.
func targetOf(ip netip.Addr, onLink bool) target {
	ip = ip.Unmap()
	if ip.Is6() && (onLink || ip.IsLinkLocalUnicast()) {
		return target{netip.PrefixFrom(ip.WithZone(""), ip.BitLen()), ip.Zone()}
	}
	return target{prefix: crowd.Groups(ip)[0]}
}

// String returns t for people, such as "2001:db8::/64" or "fe80::1%eth0/128".
func (t target) String() string {
	if t.zone != "" {
		return t.prefix.Addr().WithZone(t.zone).String() + "/128"
	}
	return t.prefix.String()
}

// failures counts failed dials, and forgets one of them at each step of time.
type failures struct {
	n  int
	at time.Time // up to when steps were counted
}

// settle forgets the dials whose time is over at now.
func (v *failures) settle(every time.Duration, now time.Time) {
	steps := int(min(now.Sub(v.at)/every, time.Duration(v.n)))
	if v.n -= steps; v.n == 0 {
		v.at = now
	} else {
		v.at = v.at.Add(time.Duration(steps) * every)
	}
}

// take counts a dial of key for the payer who. The dial counts as failed until give takes it back.
// take returns an error if key, who, or all together have too many failed dials. A payer may have
// as many as it leaves to others: one alone has half of all at most, two have a third each, and a
// newcomer always gets some.
func (t *targets) take(who any, key target, trusted bool, now time.Time) error {
	burst, every := targetBurst, targetEvery
	if trusted {
		burst, every = burst*targetTrust, every/targetTrust
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweepLocked(now)
	v := t.each[key]
	if v == nil {
		v = &failures{at: now}
	}
	v.settle(every, now)
	t.settleLocked(now)
	switch {
	case v.n >= burst:
		return wtproto.Errorf(wtproto.CodeRateLimited, "too many dials of %s failed: see that its peers answer and stay, then wait", key)
	case t.all.n >= targetsBurst:
		return wtproto.Errorf(wtproto.CodeRateLimited, "too many dials failed: wait, and see at /api/topics which peers do not answer")
	case t.payers[who]*t.scale >= float64(targetsBurst-t.all.n):
		return wtproto.Errorf(wtproto.CodeRateLimited, "too many dials for the same principal failed: wait, and see at /api/topics which peers do not answer")
	}
	if t.each == nil {
		t.each = make(map[target]*failures)
	}
	t.each[key] = v
	v.n++
	t.all.n++
	t.payers[who] += 1 / t.scale
	return nil
}

// settleLocked forgets the dials whose time is over, of each payer in proportion to its part.
func (t *targets) settleLocked(now time.Time) {
	before := t.all.n
	t.all.settle(targetsEvery, now)
	if t.all.n == 0 || t.payers == nil {
		t.payers, t.scale = make(map[any]float64), 1
		return
	}
	t.scale *= float64(t.all.n) / float64(before)
	const least = 1.0 / (1 << 30)
	if t.scale >= least && len(t.payers) <= 4*targetsBurst { // at most 2*targetsBurst stay
		return
	}
	for who, n := range t.payers {
		if n *= t.scale; n < 0.5 {
			delete(t.payers, who)
		} else {
			t.payers[who] = n
		}
	}
	t.scale = 1
}

// give notes that a dial of key for the payer who has succeeded.
func (t *targets) give(who any, key target) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.each[key]; v != nil && v.n > 0 {
		v.n--
	}
	if t.all.n > 0 {
		t.all.n--
	}
	if n := t.payers[who] - 1/max(t.scale, 1e-12); n > 0 {
		t.payers[who] = n
	} else {
		delete(t.payers, who)
	}
}

// sweepLocked forgets the targets without failed dials if there are many targets.
func (t *targets) sweepLocked(now time.Time) {
	if len(t.each) < max(t.sweepAt, targetsSwept) {
		return
	}
	for key, v := range t.each {
		if v.settle(targetEvery, now); v.n == 0 {
			delete(t.each, key)
		}
	}
	t.sweepAt = 2 * len(t.each)
}

// Spend counts a dial of addr, learned from src, that is about to begin for the payer who. The
// dial counts as failed until [Policy.Refund]. Spend returns an [*wtproto.Error] with
// CodeRateLimited if there are too many failed dials: of addr's IPv4 address or IPv6 /64 (on a
// link of its IPv6 address), of all addresses together, or of who. The payer who must be
// comparable with ==, for example the widest part of a [Payer]. All dials with nil share as one
// payer. Addresses of [SourceConfigured] are not counted.
func (p *Policy) Spend(who any, src Source, addr netip.AddrPort) error {
	if src == SourceConfigured {
		return nil
	}
	ip := addr.Addr().Unmap()
	return p.targets.take(who, targetOf(ip, src == SourceLAN), src == SourceLAN || p.isAllowed(ip), time.Now())
}

// Refund notes that a dial of addr, learned from src, for the payer who has succeeded: the peer
// answered and stayed connected.
func (p *Policy) Refund(who any, src Source, addr netip.AddrPort) {
	if src != SourceConfigured {
		p.targets.give(who, targetOf(addr.Addr(), src == SourceLAN))
	}
}
