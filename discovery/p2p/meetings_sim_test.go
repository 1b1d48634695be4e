package p2p

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// manyHosts is how many hosts there are where there are many.
var manyHosts = flag.Int("hosts", 200, "hosts of the largest meetings that are tried; 1000 takes minutes")

// 850 gateways on one topic once met each with each other, and their connection managers cut 338
// meetings a minute, which were made again. Of those that are at rest only the rotation remakes
// meetings, and those who meet by need are one piece all the same.
func TestMeetingsSimulation(t *testing.T) {
	all := func(*rand.Rand, int) int { return 0 }
	few := func(*rand.Rand, int) int { return 1 }
	some := func(r *rand.Rand, _ int) int { return 1 + r.IntN(100) }
	for _, tc := range []simulation{
		{hosts: 2, topics: 1, want: all},
		{hosts: 3, topics: 2, want: few, stagger: time.Second},
		{hosts: 10, topics: 1, want: all},
		{hosts: 30, topics: 2, want: some},
		{hosts: 100, topics: 2, want: few, stagger: 100 * time.Millisecond},
		{hosts: 80, topics: 1, want: all, stagger: time.Second},
		// Each host is on half of the topics, and may meet far fewer hosts than it wants to.
		{hosts: 40, topics: 4, share: 2, most: 20, want: func(_ *rand.Rand, topic int) int { return 1 + 20*topic }},
		{hosts: *manyHosts, topics: 1, want: few, stagger: 10 * time.Millisecond},
		{hosts: *manyHosts, topics: 1, want: some, long: true},
	} {
		if tc.long && *manyHosts < 1000 {
			continue
		}
		for _, seed := range simulationSeeds(t) {
			t.Run(fmt.Sprintf("seed %d/%d hosts/%d topics", seed, tc.hosts, tc.topics), func(t *testing.T) { tc.run(t, seed) })
		}
	}
}

// simulation is a world and what happens in it.
type simulation struct {
	hosts, topics int
	share         int // one in how many topics a host is on, 0 for all
	most          int // places of a host, 0 for the usual
	want          func(r *rand.Rand, topic int) int
	stagger       time.Duration // between two hosts that join
	long          bool
}

func (s simulation) run(t *testing.T, seed uint64) {
	w := newModel(t, seed)
	w.most = cmp.Or(s.most, maxMeetingHosts)
	start := func() {
		h := w.host()
		for number := range s.topics {
			if s.share == 0 || w.rand.IntN(s.share) == 0 {
				h.join(number, s.want(w.rand, number))
			}
		}
	}
	for range s.hosts {
		start()
		w.run(s.stagger)
	}
	began := w.now
	for number := range s.topics {
		for w.pieces(number) > 1 {
			if w.run(time.Second); w.now.Sub(began) > time.Minute {
				t.Fatalf("not one piece after a minute")
			}
		}
	}
	joined := w.now.Sub(began)
	w.whole("after a minute", time.Minute, s.topics)
	for range 10 { // half of the hosts go, and others come, in a minute
		for range s.hosts / 20 {
			if h := w.hosts[w.rand.IntN(len(w.hosts))]; h.alive {
				h.die()
			}
			start()
		}
		w.run(6 * time.Second)
	}
	w.whole("after churn", 10*time.Minute, s.topics)
	rest := w.now
	w.made = 0
	w.whole("at rest", 10*time.Minute, s.topics)
	joins, least, most := w.count()
	each := float64(w.made) / float64(joins) / w.now.Sub(rest).Minutes()
	t.Logf("one piece %v after the last join; at rest %.3f meetings made a host, topic and minute; %d to %d meetings", joined, each, least, most)
	if limit := 2.5 / rotateEvery.Minutes(); each > limit {
		t.Errorf("%.3f meetings made a host, topic and minute at rest, want at most %.3f", each, limit)
	}
}

// chained wants each host to meet the next greater one of those that it has found, within two
// minutes: it asks one in chainEvery, and finds nearer ones meanwhile.
func (w *model) chained(when string, number int) {
	w.t.Helper()
	wait := w.unchained(number)
	for range 12 {
		if len(wait) == 0 {
			return
		}
		w.run(10 * time.Second)
		now := w.unchained(number)
		maps.DeleteFunc(wait, func(h, next peer.ID) bool { return now[h] != next })
	}
	w.t.Errorf("%s: topic %d has %d hosts that have not met the next greater one that they found two minutes ago", when, number, len(wait))
}

// whole lets d go by, and wants each topic to be one piece then. It wants the chain only after ten
// minutes.
func (w *model) whole(when string, d time.Duration, topics int) {
	w.t.Helper()
	w.run(d)
	for number := range topics {
		if n := w.pieces(number); n != 1 {
			_, least, most := w.count()
			w.t.Fatalf("%s: topic %d has %d pieces, hosts have %d to %d meetings", when, number, n, least, most)
		}
		if d >= 10*time.Minute && w.most == maxMeetingHosts {
			w.chained(when, number)
		}
	}
}

// simulationSeeds returns the seeds of a simulation: a fixed one and a new one, which the name of
// the test says; or the one of the environment.
func simulationSeeds(t *testing.T) []uint64 {
	if s := os.Getenv("SWARMGATE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{n}
	}
	return []uint64{1, rand.Uint64()}
}
