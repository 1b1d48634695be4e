package p2p

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestPlaces(t *testing.T) {
	const most = 32 // of which 2 are kept
	id := func(n int) peer.ID { return peer.ID(fmt.Sprint(n)) }
	p := newPlaces[string](most)
	n := 0
	for p.take("large", id(n)) {
		n++
	}
	if n != most-most/keptPlaces {
		t.Errorf("one topic has %d places of %d", n, most)
	}
	if !p.take("other", id(0)) || !p.take("other", id(1)) || !p.take("other", id(2)) {
		t.Error("no place with a host that is met on another topic")
	}
	if p.alone(id(0)) || !p.alone(id(3)) {
		t.Error("alone is wrong about who is met on two topics")
	}
	if !p.take("poor", id(100)) || !p.take("other", id(101)) || p.take("poor", id(102)) || p.take("large", id(102)) {
		t.Error("the places that are kept are not for topics with few")
	}
	if rich, ok := p.richest("poor"); !ok || rich != "large" {
		t.Errorf("richest: %q, %v", rich, ok)
	}
	if rich, ok := p.richest("large"); ok {
		t.Errorf("%q shall let go a host for the topic that has most", rich)
	}
	p.give("large", id(n-1))
	if !p.take("poor", id(102)) {
		t.Error("no place after one was given back")
	}
	for i := range n - 1 {
		p.give("large", id(i))
	}
	for i := range 3 {
		p.give("other", id(i))
	}
	p.give("other", id(101))
	p.give("poor", id(100))
	p.give("poor", id(102))
	if len(p.hosts)+len(p.topics) != 0 {
		t.Errorf("left: %v, %v", p.hosts, p.topics)
	}
}

// Topics that want more than there is have even shares in the end, whoever came first.
func TestPlacesAreEvenInTheEnd(t *testing.T) {
	p := newPlaces[int](100)
	next := 0
	held := make(map[int][]peer.ID)
	take := func(topic int) bool {
		id := peer.ID(fmt.Sprint(next))
		next++
		if !p.take(topic, id) {
			return false
		}
		held[topic] = append(held[topic], id)
		return true
	}
	for take(0) {
	}
	for range 1000 { // nine others want as many as they can get
		for topic := 1; topic < 10; topic++ {
			if take(topic) {
				continue
			}
			if rich, ok := p.richest(topic); ok {
				p.give(rich, held[rich][0])
				held[rich] = held[rich][1:]
			}
		}
	}
	for topic := range 10 {
		if n := len(held[topic]); n < 9 || n > 10 {
			t.Errorf("topic %d has %d places of 100 for ten", topic, n)
		}
	}
	if len(p.hosts) > 100 {
		t.Errorf("%d places", len(p.hosts))
	}
}

// A topic that had met all hosts that it knew had others let theirs go, for nothing, if it wanted
// more. One that did know more was not told when there was a place, and waited up to a minute.
func TestMeetingsStarve(t *testing.T) {
	rooms := &sharing{places: newPlaces[*topic](2)}
	m := testMeetings(0)
	m.room = rooms.of(new(topic))
	meetAll(t, m, 1, epoch)
	if m.lacks() <= 0 || m.starves(epoch) {
		t.Errorf("lacks %d, starves without anybody to ask", m.lacks())
	}
	other := rooms.of(new(topic))
	if !other.take("x") {
		t.Fatal("no place")
	}
	m.learn("y", epoch)
	if m.next(epoch) != nil || !m.starves(epoch) {
		t.Error("it does not starve")
	}
	other.give("x")
	if m.starves(epoch) || m.next(epoch) == nil {
		t.Error("it starves though there is a place")
	}
}
