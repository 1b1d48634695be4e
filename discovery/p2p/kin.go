package p2p

import "time"

// kinHold is how long a met host keeps its place among the hosts that we ask by tags, before it
// makes room for a newer one.
const kinHold = time.Minute

// kinship says why we ask a host by tags, or answer it. maxKin bounds the hosts of each kind.
type kinship int

const (
	kinNone     kinship = iota
	kinStranger         // it asks us
	kinMeeting          // we have met it on a topic
	kinNear             // it is on the LAN
)

var maxKin = [...]int{kinStranger: 16, kinMeeting: 64, kinNear: maxLAN}

// kinLocked gives l a place among the links that ask by tags or answer, if it may have one.
func (ls *links) kinLocked(l *link, kin kinship) {
	g := &l.guesses
	if l.ended || kin <= g.kin {
		return
	}
	if room := ls.kin[kin] < maxKin[kin]; !room && (kin != kinMeeting || !ls.makeRoomLocked(time.Now())) {
		return
	}
	ls.kin[g.kin]--
	ls.kin[kin]++
	if g.kin == kinNone { // it may have asked before there was a place
		for tag := range g.tags {
			g.fresh = append(g.fresh, tag)
		}
		for tag := range g.olderTags {
			g.fresh = append(g.fresh, tag)
		}
	}
	g.all = g.all || g.kin < kinMeeting && kin >= kinMeeting
	g.kin, g.since = kin, time.Now()
	wake(l.more)
}

// makeRoomLocked takes the place of the met host that has been asked by tags for longest. It
// reports whether there is one that had its place for kinHold.
func (ls *links) makeRoomLocked(now time.Time) bool {
	if now.Before(ls.kinFull) {
		return false
	}
	l := ls.longestLocked(func(l *link) bool { return l.guesses.kin == kinMeeting })
	g := &l.guesses
	if until := g.since.Add(kinHold); until.After(now) {
		ls.kinFull = until
		return false
	}
	ls.kin[kinMeeting]--
	g.kin, g.since, g.all, g.ask = kinNone, now, false, nil
	if ls.kin[kinStranger] < maxKin[kinStranger] {
		g.kin = kinStranger // we still answer it
	}
	ls.kin[g.kin]++
	return true
}

// longestLocked returns the suitable link that has had its kinship for longest, or nil.
func (ls *links) longestLocked(suits func(*link) bool) (longest *link) {
	for _, n := range ls.hosts {
		if l := n.link; l != nil && suits(l) && (longest == nil || l.guesses.since.Before(longest.guesses.since)) {
			longest = l
		}
	}
	return longest
}

// rotateKinLocked gives places to met hosts without one, taking them from others that had theirs
// for long enough.
func (ls *links) rotateKinLocked() {
	for ls.kin[kinMeeting] < maxKin[kinMeeting] || !time.Now().Before(ls.kinFull) {
		l := ls.longestLocked(func(l *link) bool { return l.guesses.kin < kinMeeting && len(l.n.meetings) > 0 })
		if l == nil {
			return
		}
		if ls.kinLocked(l, kinMeeting); l.guesses.kin < kinMeeting {
			return
		}
	}
}

// kinEndLocked gives the place back.
func (ls *links) kinEndLocked(l *link) {
	g := &l.guesses
	full := g.kin == kinMeeting && ls.kin[kinMeeting] >= maxKin[kinMeeting]
	ls.kin[g.kin]--
	ls.kin[kinNone]++
	g.kin = kinNone
	if g.timer != nil {
		g.timer.Stop()
	}
	g.ask, g.fresh, g.joined = nil, nil, nil
	if full {
		ls.rotateKinLocked()
	}
}
