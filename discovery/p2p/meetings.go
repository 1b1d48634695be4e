package p2p

import (
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxKnown = 1024 // known hosts of a topic

	// A host wants at least leastMeetings meetings on a topic, and at most mostMeetings.
	leastMeetings, mostMeetings = 8, 64
	// ownMeetings is how many of these hosts it chooses itself at random, whoever else comes to
	// it. A graph in which everybody chooses four others at random is in one piece.
	ownMeetings = 4
	// moreMeetings is how many meetings beyond the wanted ones a host allows to others that ask:
	// this number, or half of the wanted meetings if that is more.
	moreMeetings = 8
	// If there is no room, a host ends a meeting that another host asked for, and gives its place
	// to a newcomer: at most swapBurst times at once, and then once in swapEvery.
	swapEvery, swapBurst = 10 * time.Second, 8
	// rotateEvery is how often a meeting without circuits makes room for one with another host.
	rotateEvery = 10 * time.Minute
	// partedFor is how long a host counts as met lately.
	partedFor = time.Hour

	maxAsking = 16 // hosts of a topic to ask at once
	// Beside them, hosts may be asked that take longer than askPatience: leastSlow at first. Each
	// that fails adds two, up to maxSlow. Each that answers subtracts two, because if live hosts
	// take long, asking more of them at once does not help.
	leastSlow, maxSlow = 4, 64
	// askPatience is how long an answer may take before another host is asked as well.
	askPatience = 500 * time.Millisecond
	// failedShare is the share of asks for hosts that failed, if there are others: one in so many.
	failedShare = 4
	// busyWait is the least delay before we ask a host without room again, if we have half of the
	// wanted meetings.
	busyWait = time.Minute
	// settled is how long a meeting must last so that its end does not count as a failure.
	settled = 10 * time.Second
	// stale is how long we go on asking a host that nobody finds any more.
	stale = time.Hour
)

// room has places for the hosts of a topic. A host has one while it is asked or met.
type room interface {
	may(peer.ID) bool  // reports whether there is a place for it
	take(peer.ID) bool // takes a place, if there is one
	give(peer.ID)      // gives it back
}

// meetings decides which hosts of one topic to meet: which to ask, which to accept, and which
// meetings to end. Pure accounting.
type meetings struct {
	// constant after newMeetings
	retryMin, retryMax time.Duration
	// random returns a number from 0 to n-1.
	random func(n int) int
	// busy reports whether there are circuits with a host, so that the meeting must not end. Nil
	// means no circuits.
	busy func(peer.ID) bool
	// room has the places for hosts that all topics share. Nil means that there is always a place.
	room room
	// dropped is called for each forgotten host. It may be nil.
	dropped func(peer.ID)
	chain   chain

	known     map[peer.ID]*acquaintance // at most maxKnown; nil before the first
	all       []*acquaintance           // the same, in random order
	wanted    int                       // meetings that the topic wants
	operators int                       // the known ones that the operator named
	active    int                       // meetings
	named     int                       // meetings with hosts that the operator named
	own       int                       // other meetings, with hosts that we chose
	asking    int                       // slow ones not included
	slow      int
	slows     int           // how many slow ones there may be
	swaps     *rate.Limiter // nil before the first host
	rotate    time.Time     // when a meeting makes room for another; zero until there are enough
}

// newMeetings returns the accounting of a topic without hosts. Delays before a host is asked again
// grow from retryMin to retryMax.
func newMeetings(retryMin, retryMax time.Duration) *meetings {
	m := &meetings{retryMin: retryMin, retryMax: retryMax, random: rand.IntN, slows: leastSlow}
	m.want(0)
	return m
}

// first makes what a topic needs that has a host. Most topics of a gateway have none.
func (m *meetings) first() {
	m.known = make(map[peer.ID]*acquaintance)
	m.swaps = rate.NewLimiter(rate.Every(swapEvery), swapBurst)
	if m.chain.self != "" {
		m.chain.asks = rate.NewLimiter(rate.Every(chainEvery), chainBurst)
		m.chain.swaps = rate.NewLimiter(rate.Every(chainEvery), chainBurst)
	}
}

// want sets the number of places for peers of other hosts. With 0 it is unknown, as for a native
// peer, and the topic wants mostMeetings.
func (m *meetings) want(places int) {
	m.wanted = mostMeetings
	if places > 0 {
		m.wanted = min(max(places+places/4+2, leastMeetings), mostMeetings)
	}
}

// most returns how many meetings there may be, including those that others asked for.
func (m *meetings) most() int { return m.wanted + max(m.wanted/2, moreMeetings) }

// lacks returns how many more hosts to ask now, if those that are being asked say yes.
func (m *meetings) lacks() int {
	chosen := max(m.wanted-(m.active-m.named), ownMeetings-m.own)
	return min(chosen, m.most()-m.active) - m.asking
}

// asks reports whether next may return a host.
func (m *meetings) asks(now time.Time) bool {
	m.lookAtSlow(now)
	switch {
	case m.asking >= maxAsking:
		return false
	case m.operators > 0 && m.choose(func(a *acquaintance) bool { return a.named && m.ready(a, now) }) != nil:
		return true
	case m.climbs(now) != nil:
		return true
	case m.lacks() > 0:
		return m.choose(func(a *acquaintance) bool { return m.ready(a, now) }) != nil
	}
	return m.rotates(now)
}

// next returns the host to ask now, or nil. The host counts as asked from now on.
func (m *meetings) next(now time.Time) *acquaintance {
	m.lookAtSlow(now)
	if m.asking >= maxAsking {
		return nil
	}
	spare, climb := false, false
	var a *acquaintance
	if m.operators > 0 {
		a = m.choose(func(a *acquaintance) bool { return a.named && m.ready(a, now) })
	}
	if a == nil {
		if a = m.climbs(now); a != nil {
			m.chain.asks.AllowN(now, 1)
			climb = true
		}
	}
	if a == nil && m.lacks() > 0 {
		m.rotate = time.Time{}
		a = m.candidate(now)
	}
	if a == nil && m.rotates(now) {
		a = m.choose(func(a *acquaintance) bool { return m.ready(a, now) && a.fresh(now) })
		m.rotate, spare = m.nextRotation(now), true
	}
	if a == nil || m.room != nil && !m.room.take(a.id) {
		return nil
	}
	a.stand, a.since, a.spare, a.climb, a.chosen = standAsked, now, spare, climb, !climb
	m.asking++
	return a
}

// answer notes that we ask id because it has asked by tags. It reports whether we can.
func (m *meetings) answer(id peer.ID, now time.Time) bool {
	a := m.learn(id, now)
	if a == nil || a.stand != standApart || m.room != nil && !m.room.take(id) {
		return false
	}
	a.stand, a.since = standAsked, now
	m.asking++
	return true
}

// lookAtSlow lets hosts that take long to answer make room for others.
func (m *meetings) lookAtSlow(now time.Time) {
	if m.asking == 0 {
		return
	}
	for _, a := range m.all {
		if a.stand == standAsked && !a.slow && now.Sub(a.since) >= askPatience && m.slow < m.slows {
			a.slow = true
			m.asking--
			m.slow++
		}
	}
}

// ready reports whether a may be asked now.
func (m *meetings) ready(a *acquaintance, now time.Time) bool {
	return a.stand == standApart && !now.Before(a.next) && (m.room == nil || m.room.may(a.id))
}

// starves reports whether a host would be asked now if room had a place.
func (m *meetings) starves(now time.Time) bool {
	if m.room == nil || m.asking >= maxAsking {
		return false
	}
	if a := m.greater(now); a != nil && !m.room.may(a.id) {
		return true
	}
	return m.lacks() > 0 && m.choose(func(a *acquaintance) bool {
		return a.stand == standApart && !now.Before(a.next) && !m.room.may(a.id)
	}) != nil
}

// candidate returns a host to ask, or nil: usually a fresh one.
func (m *meetings) candidate(now time.Time) *acquaintance {
	first := m.random(failedShare) > 0
	for _, fresh := range [...]bool{first, !first} {
		a := m.choose(func(a *acquaintance) bool { return m.ready(a, now) && a.fresh(now) == fresh })
		if a != nil {
			return a
		}
	}
	return nil
}

// choose returns a suitable host at random, or nil.
func (m *meetings) choose(suits func(*acquaintance) bool) (chosen *acquaintance) {
	for range min(len(m.all), 8) { // usually a few tries are enough
		if a := m.all[m.random(len(m.all))]; suits(a) {
			return a
		}
	}
	n := 0
	for _, a := range m.all {
		if suits(a) {
			if n++; m.random(n) == 0 {
				chosen = a
			}
		}
	}
	return chosen
}

// rotates reports whether it is time that a meeting makes room for another one.
func (m *meetings) rotates(now time.Time) bool {
	switch {
	case m.lacks() > 0 || m.asking > 0:
		return false
	case m.rotate.IsZero():
		m.rotate = m.nextRotation(now)
	}
	return !now.Before(m.rotate)
}

func (m *meetings) nextRotation(now time.Time) time.Time {
	const spread = rotateEvery / 5
	return now.Add(rotateEvery - spread + time.Duration(m.random(int(2*spread))))
}

// wake returns when to call next again, if nothing happens until then.
func (m *meetings) wake(now time.Time) time.Time {
	at := m.rotate
	if !at.After(now) {
		at = now.Add(rotateEvery)
	}
	lacks := m.lacks() > 0
	for _, a := range m.all {
		due := a.next
		if a.stand == standAsked && !a.slow && m.slow < m.slows {
			due = a.since.Add(askPatience)
		} else if a.stand != standApart || !lacks && !a.named && !m.above(a) {
			continue
		}
		if due.After(now) && due.Before(at) {
			at = due
		}
	}
	return m.climbAt(now, at)
}

// leave subtracts a from the counts of its state.
func (m *meetings) leave(a *acquaintance) {
	switch {
	case a.stand == standApart:
		return
	case a.stand == standMeeting:
		m.active--
		if a.named {
			m.named--
		} else if a.ours {
			m.own--
		}
	case a.slow:
		m.slow--
	default:
		m.asking--
	}
	a.stand, a.slow, a.ours, a.spare, a.climb, a.chosen = standApart, false, false, false, false, false
	if m.room != nil {
		m.room.give(a.id)
	}
}

// welcome decides about a host that asks for a meeting. With NONE the meeting may begin. If out is
// not empty then, the meeting with out is over, and the caller has to tell out.
func (m *meetings) welcome(id peer.ID, now time.Time) (code wtproto.Code, out peer.ID) {
	a := m.learn(id, now)
	if a == nil {
		return wtproto.CodeBusy, ""
	}
	a.real = true
	if a.stand == standApart && m.room != nil && !m.room.may(id) {
		return wtproto.CodeBusy, ""
	}
	if a.stand != standApart || a.named || m.active+m.asking < m.most() {
		return wtproto.CodeNone, ""
	}
	if m.isNext(a) {
		return m.welcomeNext(a, now)
	}
	if now.Sub(a.parted) >= partedFor && m.swaps.TokensAt(now) >= 1 {
		if o := m.spare(now, func(o *acquaintance) bool { return !o.ours }); o != nil {
			m.swaps.AllowN(now, 1)
			m.part(o, now)
			return wtproto.CodeNone, o.id
		}
	}
	return wtproto.CodeBusy, ""
}

// spare returns a suitable meeting to end, at random: one without circuits that has not just
// begun, and not with a gateway next to us.
func (m *meetings) spare(now time.Time, suits func(*acquaintance) bool) *acquaintance {
	below, above := m.neighbors()
	return m.choose(func(a *acquaintance) bool {
		return a.stand == standMeeting && a != below && a != above && !a.named && now.Sub(a.since) >= settled && suits(a) && (m.busy == nil || !m.busy(a.id))
	})
}

// part notes the end of the meeting with a, to make room.
func (m *meetings) part(a *acquaintance, now time.Time) {
	m.leave(a)
	a.parted, a.since = now, now
	a.next = now.Add(a.retry.Next())
}

// meet notes a meeting with id, because we asked (ours) or because it did. If out is not empty,
// the meeting with out is over, and the caller has to tell out. out may be id itself.
func (m *meetings) meet(id peer.ID, ours bool, now time.Time) (out peer.ID) {
	a := m.learn(id, now)
	if a == nil {
		return id
	}
	a.real, a.failures = true, 0
	if a.stand == standMeeting {
		return ""
	}
	spare, climb := a.spare, a.climb
	if a.stand == standAsked {
		ours = a.chosen // both hosts may have asked
		m.slows = max(m.slows-2, leastSlow)
	}
	m.leave(a)
	if m.room != nil && !m.room.take(id) {
		return id
	}
	a.stand, a.since, a.ours = standMeeting, now, ours
	m.active++
	switch {
	case a.named:
		m.named++
		return ""
	case ours:
		m.own++
	}
	var o *acquaintance
	switch enough := m.active-m.named > m.wanted; {
	case m.isNext(a):
		o = m.forNext(a, (climb || spare) && enough, now)
	case m.active > m.most(), ours && !spare && enough && m.own > ownMeetings:
		o = a // others, which were asked because it took long, have answered meanwhile
	case spare && enough:
		o = m.spare(now, func(o *acquaintance) bool { return now.Sub(o.since) >= rotateEvery/2 })
	}
	if o == nil {
		return ""
	}
	m.part(o, now)
	return o.id
}

// failed notes that id has not agreed to meet. It reports whether that is a failure worth
// reporting.
func (m *meetings) failed(id peer.ID, code wtproto.Code, now time.Time) bool {
	a := m.known[id]
	if a == nil || a.stand == standMeeting {
		return false
	}
	if a.spare {
		m.rotate = now // another host can take the place
	}
	climb := a.climb
	m.leave(a)
	m.slows = min(m.slows+2, maxSlow)
	a.since = now
	a.failures++
	a.next = now.Add(a.retry.Next())
	switch code {
	case wtproto.CodeBusy, wtproto.CodeTopicLimit, wtproto.CodeRateLimited:
		a.real = true
		if m.active >= m.wanted/2 && !climb {
			a.next = latest(a.next, now.Add(busyWait+time.Duration(m.random(int(busyWait)))))
		}
		return false
	case wtproto.CodeLeft, wtproto.CodeShutdown, wtproto.CodeReplaced:
		a.real = true
		return false
	}
	return true
}

// ended notes that the meeting with id is over because of code. It reports whether to look for
// other hosts.
func (m *meetings) ended(id peer.ID, code wtproto.Code, now time.Time) bool {
	a := m.known[id]
	if a == nil || a.stand != standMeeting {
		return false
	}
	lasted := now.Sub(a.since) >= settled
	if lasted {
		a.retry.Reset()
	}
	if code == wtproto.CodeNone || code == wtproto.CodeBusy {
		m.part(a, now)
		return m.lacks() > 0
	}
	m.leave(a)
	a.since = now
	if !lasted {
		a.failures++
	}
	a.next = now.Add(a.retry.Next())
	return lasted
}

// relieve ends a meeting so that another topic gets the place. It returns the host to tell, or "".
func (m *meetings) relieve(now time.Time, suits func(peer.ID) bool) peer.ID {
	a := m.spare(now, func(a *acquaintance) bool { return suits(a.id) })
	if a == nil {
		return ""
	}
	m.part(a, now)
	return a.id
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
