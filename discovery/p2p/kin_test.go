package p2p

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// metLink adds a link with a host that is met on one topic, as far as guesses are concerned.
func metLink(ls *links, i int) *link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := ls.neighborLocked(peer.ID(fmt.Sprint("host ", i)))
	l := &link{links: ls, n: n, more: make(chan struct{}, 1), guesses: newGuesses()}
	n.link, n.meetings[[32]byte{1}] = l, &remote{}
	ls.kinLocked(l, kinMeeting)
	return l
}

// asks returns how many of all are asked by tags.
func asks(ls *links, all []*link) (n int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range all {
		if l.guesses.kin == kinMeeting {
			n++
		}
	}
	return n
}

// wantCounted wants the counts of each kind to be what they count.
func wantCounted(t *testing.T, ls *links) {
	t.Helper()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var have [len(maxKin)]int
	for _, n := range ls.hosts {
		if n.link != nil {
			have[n.link.guesses.kin]++
		}
	}
	for kin := kinStranger; int(kin) < len(maxKin); kin++ {
		if ls.kin[kin] != have[kin] || have[kin] > maxKin[kin] {
			t.Errorf("%d of kind %d are counted, there are %d, may be %d", ls.kin[kin], kin, have[kin], maxKin[kin])
		}
	}
}

// 64 hosts that stayed met had all places of those who are asked by tags, for ever: a host that
// was met later was never asked about other topics.
func TestNewKinAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls := newLinks(&Host{lan: newLAN(time.Hour)})
		most := maxKin[kinMeeting]
		var all []*link
		for i := range most {
			all = append(all, metLink(ls, i))
		}
		late := metLink(ls, most)
		if n := asks(ls, all); n != most || late.guesses.kin == kinMeeting {
			t.Fatalf("%d of %d have places, the next one has %v", n, most, late.guesses.kin)
		}
		time.Sleep(time.Minute)
		newer := metLink(ls, most+1)
		if n := asks(ls, all); n != most-1 || newer.guesses.kin != kinMeeting || !newer.guesses.all {
			t.Errorf("%d of the old ones are left, the newer one has %v", n, newer.guesses.kin)
		}
		tp := &topic{digest: [32]byte{2}, presence: presence(true, true)}
		ls.guess(tp, true, false) // a new topic, of which all are asked that have a place
		if late.guesses.kin != kinMeeting || !late.guesses.all {
			t.Errorf("the late one has %v", late.guesses.kin)
		}
		if n := asks(ls, append(all, late, newer)); n != most || ls.kin[kinMeeting] != most {
			t.Errorf("%d have places, %d are counted, want %d", n, ls.kin[kinMeeting], most)
		}
		ls.mu.Lock()
		late.n.link, late.ended = nil, true
		ls.kinEndLocked(late)
		ls.mu.Unlock()
		if n := asks(ls, append(all, newer)); n != most || ls.kin[kinMeeting] != most {
			t.Errorf("%d have places after one has ended, %d are counted, want %d", n, ls.kin[kinMeeting], most)
		}
		wantCounted(t, ls)
		// In the end everybody had a place.
		had := make(map[*link]bool)
		all = append(all, newer)
		for i := range 100 {
			all = append(all, metLink(ls, 1000+i))
		}
		for range 10 {
			time.Sleep(time.Minute)
			ls.guess(tp, true, false)
			wantCounted(t, ls)
			for _, l := range all {
				had[l] = had[l] || l.guesses.kin == kinMeeting
			}
		}
		for i, l := range all {
			if !had[l] {
				t.Errorf("host %d never had a place", i)
			}
		}
	})
}
