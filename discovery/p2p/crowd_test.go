package p2p

import (
	"flag"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// restFor is how long the crowd is watched at rest.
const restFor = 5 * time.Second

// realHosts is how many hosts of a process meet. Each costs some 25 descriptors and 3 MiB.
var realHosts = flag.Int("real-hosts", 20, "real hosts that meet on one topic")

// 850 gateways on one topic lost and remade 338 meetings a minute. Of as many real hosts as
// -real-hosts says, half of them gateways, all are one piece soon, and meetings are lost and made
// only as the rotation says. Who finds whom is chance, as with a DHT, which the test saves.
func TestCrowd(t *testing.T) {
	n := *realHosts
	hosts := make([]*Host, n)
	var starting sync.WaitGroup
	for i := range hosts {
		starting.Go(func() {
			h, err := Listen(Config{
				Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: Off, Policy: private(t), Gateway: i%2 == 0,
				KeepAlive: time.Minute, DialTimeout: time.Minute, AnswerTimeout: time.Minute, RetryMax: 5 * time.Second, // the machine is busy
			})
			if err != nil {
				t.Error(err)
			}
			hosts[i] = h
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		var closing sync.WaitGroup
		for _, h := range hosts {
			closing.Go(func() { h.Close() })
		}
		closing.Wait()
	})
	topics := make([]*topic, n)
	targets := make([]target, n)
	for i, h := range hosts {
		state := discovery.State{Announce: true, LookUp: true, Endpoints: endpoints(1), Want: 1}
		if !h.Gateway {
			state.Endpoints = []wtproto.EndpointID{nativeEndpoint}
		}
		tp := h.newTopic(t.Context(), testTopic, discovery.NewPresence(state))
		if err := h.enter(tp); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.leave(tp) })
		topics[i] = tp
		targets[i] = target{id: h.id, addrs: h.libp2p.Addrs(), network: networkDHT}
	}
	began := time.Now()
	for i, tp := range topics {
		for _, k := range rand.Perm(n)[:min(n, maxProviders)] {
			if k != i {
				tp.addTarget(targets[k])
			}
		}
		eventually(t, "it has met somebody", func() bool { // else all handshakes are made at once
			tp.mu.Lock()
			defer tp.mu.Unlock()
			return tp.meetings.active > 0
		})
	}
	defer func() {
		if t.Failed() {
			pieces, least, most, all := piecesOf(topics)
			t.Logf("%d pieces, %d to %d meetings a host, %d in all", pieces, least, most, all)
		}
	}()
	seldom(t, "all hosts are one piece and have enough meetings", func() bool {
		pieces, least, _, _ := piecesOf(topics)
		return pieces == 1 && least >= leastMeetings
	})
	took := time.Since(began)
	asked := func() bool {
		return !slices.ContainsFunc(topics, func(tp *topic) bool {
			tp.mu.Lock()
			defer tp.mu.Unlock()
			return tp.meetings.asking+tp.meetings.slow > 0
		})
	}
	seldom(t, "nobody asks any more", asked)
	before := meetingsOf(topics)
	resting := time.Now()
	timer := time.NewTimer(restFor)
	<-timer.C
	after := meetingsOf(topics)
	rested := time.Since(resting) // more on a busy machine
	lost := 0
	for m := range before {
		if !after[m] {
			lost++
		}
	}
	pieces, least, most, all := piecesOf(topics)
	conns := 0
	for _, h := range hosts {
		conns += len(h.libp2p.Network().Conns())
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d hosts are one piece after %v; %d meetings, %d to %d a host; %d connections' ends, %d MiB, %d goroutines",
		n, took.Round(time.Millisecond), all, least, most, conns, mem.Sys>>20, runtime.NumGoroutine())
	if pieces != 1 || most > 2*leastMeetings+chainRoom {
		t.Errorf("%d pieces, %d to %d meetings a host", pieces, least, most)
	}
	// Each host lets one go in rotateEvery, at random times, and both ends of it are counted.
	mean := float64(n) * float64(rested) / float64(rotateEvery)
	if limit := 2 * int(1+mean+4*math.Sqrt(mean)); lost > limit {
		t.Errorf("%d meetings of %d were lost in %v at rest, want at most %d", lost, len(before), rested, limit)
	}
}

// seldom waits until f is true, which takes time to find out.
func seldom(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(8 * patience); !f(); <-tick.C { // hundreds of handshakes, on a busy machine
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// meetingsOf returns who is met by whom, from both sides.
func meetingsOf(topics []*topic) map[[2]peer.ID]bool {
	all := make(map[[2]peer.ID]bool)
	for _, tp := range topics {
		tp.mu.Lock()
		for id, r := range tp.hosts {
			if r.meeting {
				all[[2]peer.ID{tp.h.id, id}] = true
			}
		}
		tp.mu.Unlock()
	}
	return all
}

// piecesOf returns how many pieces the graph of meetings has, the least and the greatest number of
// meetings of a host, and how many there are.
func piecesOf(topics []*topic) (pieces, least, most, all int) {
	next := make(map[peer.ID][]peer.ID)
	for m := range meetingsOf(topics) {
		next[m[0]] = append(next[m[0]], m[1])
	}
	least = len(topics)
	seen := make(map[peer.ID]bool)
	for _, tp := range topics {
		id := tp.h.id
		least, most, all = min(least, len(next[id])), max(most, len(next[id])), all+len(next[id])
		if seen[id] {
			continue
		}
		pieces++
		seen[id] = true
		for todo := []peer.ID{id}; len(todo) > 0; todo = todo[1:] {
			for _, o := range next[todo[0]] {
				if !seen[o] {
					seen[o] = true
					todo = append(todo, o)
				}
			}
		}
	}
	return pieces, least, most, all / 2
}
