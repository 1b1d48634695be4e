package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxMeetingHosts is how many hosts one host meets, or asks, on all topics together.
	maxMeetingHosts = 1024
	// leastPlaces is how many of these a topic gets first. The last maxMeetingHosts/keptPlaces are
	// for topics that have fewer.
	leastPlaces, keptPlaces = 4, 16
)

// places shares the hosts that this host may meet among its topics. A host that is met on several
// topics takes one place. Pure accounting.
type places[T comparable] struct {
	most   int
	hosts  map[peer.ID]int // topics that have a place with it
	topics map[T]int       // places that each topic has
}

func newPlaces[T comparable](most int) *places[T] {
	return &places[T]{most: most, hosts: make(map[peer.ID]int), topics: make(map[T]int)}
}

// may reports whether topic may have a place with id.
func (p *places[T]) may(topic T, id peer.ID) bool {
	switch free := p.most - len(p.hosts); {
	case p.hosts[id] > 0:
		return true
	case p.topics[topic] < leastPlaces:
		return free > 0
	default:
		return free > p.most/keptPlaces
	}
}

// take gives topic a place with id, if it may have one. The caller gives it back.
func (p *places[T]) take(topic T, id peer.ID) bool {
	if !p.may(topic, id) {
		return false
	}
	p.hosts[id]++
	p.topics[topic]++
	return true
}

// give takes a place back.
func (p *places[T]) give(topic T, id peer.ID) {
	if p.hosts[id]--; p.hosts[id] == 0 {
		delete(p.hosts, id)
	}
	if p.topics[topic]--; p.topics[topic] == 0 {
		delete(p.topics, topic)
	}
}

// alone reports whether id has a place with one topic only, so that the place becomes free when
// that topic gives it back.
func (p *places[T]) alone(id peer.ID) bool { return p.hosts[id] == 1 }

// richest returns the topic that has to give a place to poor: the one that has most, if it has
// more than poor even then.
func (p *places[T]) richest(poor T) (rich T, ok bool) {
	least := p.topics[poor] + 2
	for t, n := range p.topics {
		if n >= least {
			rich, least, ok = t, n+1, true
		}
	}
	return rich, ok
}

// sharing has the places of a host. Its methods may be called by several goroutines at once.
type sharing struct {
	mu     sync.Mutex
	places *places[*topic] // guarded by mu
}

// of returns the room of one topic.
func (s *sharing) of(t *topic) room { return topicRoom{s, t} }

// topicRoom is the [room] of a topic.
type topicRoom struct {
	*sharing
	t *topic
}

func (r topicRoom) may(id peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.places.may(r.t, id)
}

func (r topicRoom) take(id peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.places.take(r.t, id)
}

func (r topicRoom) give(id peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places.give(r.t, id)
}

// alone reports whether id is met on one topic only.
func (s *sharing) alone(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places.alone(id)
}

// richest returns the topic that has to give a place to poor. It is nil if there is room, or no
// such topic.
func (s *sharing) richest(poor *topic) *topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places.may(poor, "") {
		return nil
	}
	rich, _ := s.places.richest(poor)
	return rich
}
