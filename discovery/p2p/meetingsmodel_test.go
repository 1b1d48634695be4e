package p2p

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/wtproto"
)

// model is a world of hosts that follow the rules of meetings, over a network on which nothing is
// lost, in virtual time. The same seed makes the same world.
type model struct {
	t      *testing.T
	rand   *rand.Rand
	now    time.Time
	events events
	seq    int
	hosts  []*modelHost // all that ever were, by number
	most   int          // places of a host
	made   int          // meetings
}

// modelHost is one host of a model, on some topics.
type modelHost struct {
	w      *model
	id     peer.ID
	alive  bool
	topics map[int]*modelTopic
	places *places[int]
}

// modelTopic is what a host does on one topic.
type modelTopic struct {
	h      *modelHost
	number int
	m      *meetings
	met    map[peer.ID]*modelHost // as the network sees it
	busy   map[peer.ID]bool       // hosts with circuits
	timer  time.Time              // when pump is called again
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].seq, e[j].seq)) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newModel(t *testing.T, seed uint64) *model {
	return &model{t: t, rand: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1e9, 0)}
}

func (w *model) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now.Add(d), w.seq, do})
}

// run lets d go by.
func (w *model) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// delay is how long a message is under way.
func (w *model) delay() time.Duration {
	return time.Millisecond + time.Duration(w.rand.IntN(int(50*time.Millisecond)))
}

// host starts a host that wants peers on a topic.
func (w *model) host() *modelHost {
	h := &modelHost{w: w, id: peer.ID(fmt.Sprintf("host %d", len(w.hosts))), alive: true, topics: make(map[int]*modelTopic), places: newPlaces[int](w.most)}
	w.hosts = append(w.hosts, h)
	return h
}

func (h *modelHost) join(number, want int) {
	m := newMeetings(time.Second, 10*time.Minute)
	m.random = h.w.rand.IntN
	m.chain = newChain(h.id)
	m.want(want)
	tp := &modelTopic{h: h, number: number, m: m, met: make(map[peer.ID]*modelHost), busy: make(map[peer.ID]bool)}
	m.room = tp
	m.busy = func(id peer.ID) bool { return tp.busy[id] }
	h.topics[number] = tp
	tp.lookUp(500 * time.Millisecond)
}

// lookUp finds up to 256 of those on the topic, now and again and again.
func (tp *modelTopic) lookUp(again time.Duration) {
	if !tp.h.alive {
		return
	}
	w := tp.h.w
	found := 0
	for _, i := range w.rand.Perm(len(w.hosts)) {
		o := w.hosts[i]
		// The dead are found for a while too.
		if o != tp.h && o.topics[tp.number] != nil && (o.alive || w.rand.IntN(4) == 0) {
			tp.m.learn(o.id, w.now)
			if found++; found == 256 {
				break
			}
		}
	}
	tp.m.forget(w.now)
	w.after(again, func() { tp.lookUp(min(2*again, 10*time.Minute)) })
	tp.pump()
}

// pump asks all who are to be asked now.
func (tp *modelTopic) pump() {
	w := tp.h.w
	for tp.h.alive {
		a := tp.m.next(w.now)
		if a == nil {
			break
		}
		tp.ask(w.find(a.id))
	}
	tp.makeRoom()
	at := tp.m.wake(w.now)
	if tp.timer.After(w.now) && !at.Before(tp.timer) {
		return
	}
	tp.timer = at
	w.after(at.Sub(w.now), func() {
		if at.Equal(tp.timer) {
			tp.pump()
		}
	})
}

// may, take and give are the room of the topic.
func (tp *modelTopic) may(id peer.ID) bool  { return tp.h.places.may(tp.number, id) }
func (tp *modelTopic) take(id peer.ID) bool { return tp.h.places.take(tp.number, id) }
func (tp *modelTopic) give(id peer.ID)      { tp.h.places.give(tp.number, id) }

// makeRoom has the topic that has most let a host go, if this one has less and there is no place.
func (tp *modelTopic) makeRoom() {
	if tp.m.lacks() <= 0 || tp.h.places.may(tp.number, "nobody") {
		return
	}
	if rich, ok := tp.h.places.richest(tp.number); ok {
		other := tp.h.topics[rich]
		other.letGo(other.m.relieve(tp.h.w.now, tp.h.places.alone))
	}
}

func (w *model) find(id peer.ID) *modelHost {
	var n int
	if _, err := fmt.Sscanf(string(id), "host %d", &n); err != nil {
		w.t.Fatal(err)
	}
	return w.hosts[n]
}

func (tp *modelTopic) ask(o *modelHost) {
	w := tp.h.w
	w.after(w.delay(), func() {
		other := o.topics[tp.number]
		if !o.alive || other == nil {
			if w.rand.IntN(2) == 0 { // nothing answers
				w.after(5*time.Second, func() { tp.refused(o, wtproto.CodePeerUnreachable) })
				return
			}
			w.after(w.delay(), func() { tp.refused(o, wtproto.CodePeerUnreachable) })
			return
		}
		other.m.learn(tp.h.id, w.now)
		other.m.know(tp.h.id, true)
		code, out := other.m.welcome(tp.h.id, w.now)
		other.letGo(out)
		if code == wtproto.CodeNone && tp.h.alive {
			other.letGo(other.m.meet(tp.h.id, false, w.now))
			if other.m.known[tp.h.id].stand == standMeeting {
				other.met[tp.h.id] = tp.h
			}
		}
		w.check(other)
		other.pump()
		w.after(w.delay(), func() {
			tp.m.know(o.id, true)
			if code != wtproto.CodeNone {
				tp.refused(o, code)
				return
			}
			if tp.met[o.id] != nil || !tp.h.alive { // it asked too
				return
			}
			if other.met[tp.h.id] != tp.h { // it has let us go meanwhile
				tp.refused(o, wtproto.CodeBusy)
				return
			}
			w.made++
			tp.met[o.id] = o
			tp.letGo(tp.m.meet(o.id, true, w.now))
			w.check(tp)
			tp.pump()
		})
	})
}

func (tp *modelTopic) refused(o *modelHost, code wtproto.Code) {
	if tp.h.alive {
		tp.m.failed(o.id, code, tp.h.w.now)
		tp.pump()
	}
}

// letGo says PART to out, which the rules have let go.
func (tp *modelTopic) letGo(out peer.ID) {
	if out != "" {
		tp.part(out, wtproto.CodeNone)
	}
}

func (tp *modelTopic) part(out peer.ID, code wtproto.Code) {
	w := tp.h.w
	o := w.find(out)
	delete(tp.met, out)
	w.after(w.delay(), func() {
		if other := o.topics[tp.number]; o.alive && other != nil && other.met[tp.h.id] != nil && tp.met[out] == nil {
			delete(other.met, tp.h.id)
			other.m.ended(tp.h.id, code, w.now)
			other.pump()
		}
	})
}

// die ends a host without a word, which others notice.
func (h *modelHost) die() {
	h.alive = false
	for _, tp := range h.topics {
		for id := range tp.met {
			tp.part(id, wtproto.CodePeerGone)
		}
		clear(tp.met)
	}
}

// check wants the counts to be what they say, and the bounds to hold. Most times it does not look.
func (w *model) check(tp *modelTopic) {
	if w.rand.IntN(16) > 0 {
		return
	}
	if n := len(tp.h.places.hosts); n > w.most {
		w.t.Fatalf("%d hosts are met, of at most %d", n, w.most)
	}
	met, own, asking, slow := 0, 0, 0, 0
	for _, a := range tp.m.all {
		switch {
		case a.stand == standMeeting:
			met++
			if a.ours {
				own++
			}
		case a.stand == standAsked && a.slow:
			slow++
		case a.stand == standAsked:
			asking++
		}
	}
	m := tp.m
	if n := tp.h.places.topics[tp.number]; n != met+asking+slow {
		w.t.Fatalf("%d places, %d met, %d asked, %d slow", n, met, asking, slow)
	}
	if met != m.active || own != m.own || asking != m.asking || slow != m.slow || len(m.all) != len(m.known) {
		w.t.Fatalf("counted %d met, %d own, %d asked, %d slow; have %+v", met, own, asking, slow, m)
	}
	if met > m.most()+chainRoom || asking > maxAsking || slow > maxSlow || len(m.all) > maxKnown {
		w.t.Fatalf("%d met of %d, %d asked, %d slow, %d known", met, m.most(), asking, slow, len(m.all))
	}
}

// pieces returns how many components the graph of the hosts on a topic has.
func (w *model) pieces(number int) (n int) {
	seen := make(map[peer.ID]bool)
	for _, h := range w.hosts {
		if tp := h.topics[number]; !h.alive || tp == nil || seen[h.id] {
			continue
		}
		n++
		seen[h.id] = true
		for todo := []*modelHost{h}; len(todo) > 0; {
			next := todo[0].topics[number].met
			todo = todo[1:]
			for id, o := range next {
				if !seen[id] && o.alive {
					seen[id] = true
					todo = append(todo, o)
				}
			}
		}
	}
	return n
}

// unchained returns which hosts have not met the next greater one of those that are on the topic
// and that they have found, and which that is.
func (w *model) unchained(number int) map[peer.ID]peer.ID {
	next := make(map[peer.ID]peer.ID)
	for _, h := range w.hosts {
		tp := h.topics[number]
		if !h.alive || tp == nil {
			continue
		}
		for _, a := range tp.m.all {
			if o := w.find(a.id); o.alive && o.topics[number] != nil && o.id > h.id && (next[h.id] == "" || o.id < next[h.id]) {
				next[h.id] = o.id
			}
		}
		id, ok := next[h.id]
		if ok && (tp.met[id] != nil || between(h, w.find(id), number) && above(h, number)) {
			delete(next, h.id)
		}
	}
	return next
}

// between reports whether b has met somebody between a and itself, and need not have room for a.
func between(a, b *modelHost, number int) bool {
	for id := range b.topics[number].met {
		if a.id < id && id < b.id {
			return true
		}
	}
	return false
}

// above reports whether h has met somebody greater.
func above(h *modelHost, number int) bool {
	for id := range h.topics[number].met {
		if id > h.id {
			return true
		}
	}
	return false
}

// count returns on how many topics hosts are, all counted, and the least and the greatest number
// of meetings of one on a topic.
func (w *model) count() (joins, least, most int) {
	least = len(w.hosts)
	for _, h := range w.hosts {
		if !h.alive {
			continue
		}
		for _, tp := range h.topics {
			joins++
			least, most = min(least, len(tp.met)), max(most, len(tp.met))
		}
	}
	return joins, least, most
}
