package server

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// resource is something that principals hold and give back.
type resource int

const (
	resourceSessions    resource = iota
	resourceTopics               // those in their grace time too
	resourceCircuits             // offers included
	resourceAuthorizing          // of an authorizer, in progress
	numResources
)

// flow is something that principals use up, at a rate.
type flow int

const (
	flowNewTopics   flow = iota // topics that nobody is on
	flowFailedDials             // dials that failed, or whose circuit the peer ended at once
	flowLogLines                // sessions in the log
	flowFrames                  // control frames, and streams that come to nothing
	flowNewCircuits             // that begin, whether they open or not
	numFlows
)

// account is whom the ledger counts for: a name of a grant, a group of addresses, or a load
// balancer and each of its connections.
type account struct {
	name      string
	addresses netip.Prefix
	port      uint16 // of the balancer's connection at addresses, else 0
	balancer  bool   // all of the balancer at addresses
}

// String returns the account for people.
func (a account) String() string {
	switch {
	case a.name != "":
		return fmt.Sprintf("%q", a.name)
	case a.port != 0:
		return netip.AddrPortFrom(a.addresses.Addr(), a.port).String()
	}
	return a.addresses.String()
}

// strangers reports whether sessions of a may be of different parties.
func (a account) strangers() bool { return a.name == "" && a.port == 0 }

// principal is the account holder that one session's use is charged to.
type principal struct {
	accounts []account // narrowest first; each is charged; constant
	behind   *account  // the balancer that it is behind, or nil; it is charged, and has no limits; constant
	limits   auth.Limits
	held     [numResources]int64 // by this session; guarded by the ledger's mu
}

// newPrincipal returns the principal of a session: the grant's name, else the address that the
// session comes from, and with it the networks around an IPv6 address, of which one party may own
// all.
func newPrincipal(g *auth.Grant, addr netip.Addr) *principal {
	if g.Name != "" {
		return &principal{accounts: []account{{name: g.Name}}, limits: g.Limits}
	}
	return &principal{accounts: addressAccounts(addr), limits: g.Limits}
}

// newBehind returns the principal of a session that has no name and comes through a balancer. Its
// client's address is unknown, so the session itself has the limits of an address.
func newBehind(g *auth.Grant, balancer netip.AddrPort) *principal {
	addr := balancer.Addr().Unmap().WithZone("")
	a := account{addresses: netip.PrefixFrom(addr, addr.BitLen()), port: balancer.Port()}
	return &principal{accounts: []account{a}, behind: &account{addresses: a.addresses, balancer: true}, limits: g.Limits}
}

// addressAccounts returns the groups that addr belongs to: /32, or /64, /56 and /48.
func addressAccounts(addr netip.Addr) []account {
	groups := crowd.Groups(addr)
	accounts := make([]account, len(groups))
	for i, g := range groups {
		accounts[i].addresses = g
	}
	return accounts
}

// reserved is the share of what the gateway has that is kept for principals that have none: one in
// so many. The same share of what a group of addresses may have is kept for its sessions that have
// none, because strangers share an address; whoever has a name is one.
const reserved = 10

// quota bounds a resource. Negative means no limit.
type quota struct {
	total, each           int64
	totalLimit, eachLimit LimitName
	unit                  string // for people
}

// pace bounds a flow, for each principal. A negative rate means no limit.
type pace struct {
	perSecond rate.Limit
	burst     int
	limit     LimitName
	unit      string
}

// refusal says which limit was met, and what to tell.
type refusal struct {
	limit LimitName // empty if it is none: the session ends
	*wtproto.Error
}

// refuse returns a refusal by name, with a reason.
func refuse(name LimitName, format string, args ...any) *refusal {
	return &refusal{name, wtproto.Errorf(codeOfLimit(name), format, args...)}
}

// ledger counts what principals hold and use. It does no I/O and reads no clock. Any number of
// goroutines may use it.
type ledger struct {
	quotas [numResources]quota // constant after newLedger
	paces  [numFlows]pace      // constant after newLedger

	mu      sync.Mutex
	total   [numResources]int64 // guarded by mu
	rows    map[account]*row    // guarded by mu
	sweepAt int                 // guarded by mu; how many rows there may be before idle ones are looked for
}

// row is what is counted for one account.
type row struct {
	held [numResources]int64
	full [numResources]bool      // it was refused more, and has given nothing back since
	used [numFlows]*rate.Limiter // nil before it is used

	allowance *allowance // nil before a grant limits bytes
}

// sweepMin is the least number of rows at which idle ones are looked for.
const sweepMin = 1024

func newLedger(quotas [numResources]quota, paces [numFlows]pace) *ledger {
	return &ledger{quotas: quotas, paces: paces, rows: make(map[account]*row), sweepAt: sweepMin}
}

// limit returns how much of r the i-th account of p may hold.
func (l *ledger) limit(p *principal, i int, r resource) int64 {
	each := l.quotas[r].each
	switch r {
	case resourceSessions:
		each = override(p.limits.Sessions, each)
	case resourceTopics:
		each = override(p.limits.Topics, each)
	case resourceCircuits:
		each = override(p.limits.Circuits, each)
	}
	if each < 0 {
		return each
	}
	for range i {
		each *= crowd.Widen
	}
	return each
}

// override returns the limit of a grant, or def if the grant has none of its own.
func override(granted int, def int64) int64 {
	if granted == 0 {
		return def
	}
	return int64(granted)
}

// take counts n of r for p, to be given back by give, or says which limit is in the way; then
// nothing is counted.
func (l *ledger) take(p *principal, r resource, n int64) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.quotas[r]
	var widest int64 // what the widest account holds
	for i, a := range p.accounts {
		var held int64
		if row := l.rows[a]; row != nil {
			held = row.held[r]
		}
		limit := l.limit(p, i, r)
		room := limit
		if a.strangers() && p.held[r] > 0 {
			room -= limit / reserved
		}
		if limit >= 0 && held+n > room {
			if row := l.rows[a]; row != nil {
				row.full[r] = true
			}
			return refuse(q.eachLimit, "at most %d %s of %v are allowed", limit, q.unit, a)
		}
		widest = held
	}
	if p.behind != nil {
		if row := l.rows[*p.behind]; row != nil {
			widest = row.held[r]
		}
	}
	if q.total >= 0 {
		room := q.total
		if widest > 0 {
			room -= q.total / reserved
		}
		if l.total[r]+n > room {
			return refuse(q.totalLimit, "at most %d %s are allowed", q.total, q.unit)
		}
	}
	l.total[r] += n
	p.held[r] += n
	for _, a := range p.accounts {
		l.rowLocked(a).held[r] += n
	}
	if p.behind != nil {
		l.rowLocked(*p.behind).held[r] += n
	}
	return nil
}

// give gives n of r back.
func (l *ledger) give(p *principal, r resource, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[r] -= n
	p.held[r] -= n
	for _, a := range p.accounts {
		l.giveLocked(a, r, n)
	}
	if p.behind != nil {
		l.giveLocked(*p.behind, r, n)
	}
}

func (l *ledger) giveLocked(a account, r resource, n int64) {
	row := l.rows[a]
	row.full[r] = false
	if row.held[r] -= n; row.empty() {
		delete(l.rows, a)
	}
}

// spend uses n of f up for p, or says which limit is in the way; then nothing is used.
func (l *ledger) spend(p *principal, f flow, n int, now time.Time) *refusal {
	return l.use(p, f, n, now, true)
}

// left says what spend would, and uses nothing.
func (l *ledger) left(p *principal, f flow, n int, now time.Time) *refusal {
	return l.use(p, f, n, now, false)
}

func (l *ledger) use(p *principal, f flow, n int, now time.Time, spend bool) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	pace := &l.paces[f]
	perSecond, burst := pace.perSecond, pace.burst
	if f == flowNewTopics && p.limits.NewTopics != 0 {
		perSecond, burst = rate.Limit(p.limits.NewTopics)/60, max(p.limits.NewTopics, 1)
	}
	if perSecond < 0 {
		return nil
	}
	l.sweepLocked(now)
	accounts := p.chargedFor(f)
	for _, a := range accounts {
		row := l.rowLocked(a)
		if row.used[f] == nil {
			row.used[f] = rate.NewLimiter(perSecond, burst)
		}
		if u := row.used[f]; a.name != "" && u.Limit() != perSecond { // the name has another grant now
			u.SetLimitAt(now, perSecond)
			u.SetBurstAt(now, burst)
		}
		if row.used[f].TokensAt(now) < float64(n) {
			return refuse(pace.limit, "%v has too many %s", a, pace.unit)
		}
		perSecond, burst = perSecond*crowd.Widen, burst*crowd.Widen
	}
	if spend {
		for _, a := range accounts {
			l.rows[a].used[f].AllowN(now, n)
		}
	}
	return nil
}

// chargedFor returns the accounts that use f up. All behind a balancer share its lines of the log,
// or they could fill a disk by coming again and again.
func (p *principal) chargedFor(f flow) []account {
	if f == flowLogLines && p.behind != nil {
		return []account{*p.behind}
	}
	return p.accounts
}

// delay uses n of f up for p, and returns how long p has to wait for it.
func (l *ledger) delay(p *principal, f flow, n int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	perSecond, burst := l.paces[f].perSecond, l.paces[f].burst
	if perSecond < 0 {
		return 0
	}
	l.sweepLocked(now)
	var longest time.Duration
	for _, a := range p.accounts {
		row := l.rowLocked(a)
		if row.used[f] == nil {
			row.used[f] = rate.NewLimiter(perSecond, burst)
		}
		if !row.used[f].AllowN(now, n) { // a reservation takes memory
			longest = max(longest, row.used[f].ReserveN(now, n).DelayFrom(now))
		}
		perSecond, burst = perSecond*crowd.Widen, burst*crowd.Widen
	}
	return longest
}

// holds reports whether p holds any of r, in whichever session.
func (l *ledger) holds(p *principal, r resource) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	widest := l.rows[p.accounts[len(p.accounts)-1]]
	return widest != nil && widest.held[r] > 0
}

// used returns how much of f the narrowest account of p has used up lately: what has not come back
// at its rate yet.
func (l *ledger) used(p *principal, f flow, now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if row := l.rows[p.accounts[0]]; row != nil && row.used[f] != nil {
		return float64(row.used[f].Burst()) - row.used[f].TokensAt(now)
	}
	return 0
}

// allowance returns what bounds the bytes of p, or nil if its grant does not. What the newest
// grant of a name says holds for all its sessions. p holds a session.
func (l *ledger) allowance(p *principal, now time.Time) *allowance {
	if p.limits.BytesPerSecond <= 0 && p.limits.Bytes <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rowLocked(p.accounts[0])
	if r.allowance == nil {
		r.allowance = newAllowance()
	}
	r.allowance.set(p.limits, now)
	return r.allowance
}

// rowLocked returns the row of a.
func (l *ledger) rowLocked(a account) *row {
	r := l.rows[a]
	if r == nil {
		r = &row{}
		l.rows[a] = r
	}
	return r
}

// sweepLocked forgets rows that say nothing any more, once there are many.
func (l *ledger) sweepLocked(now time.Time) {
	if len(l.rows) < l.sweepAt {
		return
	}
	for a, r := range l.rows {
		if r.idle(now) {
			delete(l.rows, a)
		}
	}
	l.sweepAt = max(sweepMin, 2*len(l.rows))
}

// empty reports whether r was never used for more than what has been given back.
func (r *row) empty() bool {
	return r.held == [numResources]int64{} && r.used == [numFlows]*rate.Limiter{} && r.allowance == nil
}

// idle reports whether a new row would say the same at now.
func (r *row) idle(now time.Time) bool {
	if r.held != ([numResources]int64{}) || r.allowance != nil && !r.allowance.idle(now) {
		return false
	}
	for _, u := range r.used {
		if u != nil && u.TokensAt(now) < float64(u.Burst()) {
			return false
		}
	}
	return true
}

// codeOfLimit returns the code for a client that reaches the limit.
func codeOfLimit(name LimitName) wtproto.Code {
	for _, l := range limits {
		if l.Name == name {
			return l.Code
		}
	}
	panic("server: no such limit: " + string(name))
}
