package server

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
)

// sourcesSwept is the least number of sources at which those without peers are forgotten.
const sourcesSwept = 4096

// source is a machine of the LAN that advertises plain TCP services. Its name is the address of
// these services. An attacker can make up machines, and any number of services of one; a failed
// dial shows it. The topic's loop owns it.
type source struct {
	since    time.Time   // when it was seen first
	answered bool        // a service of it, once
	vain     bool        // its last dial failed; services of it that never answered are dialed after those of others
	peers    int         // of the topic
	untried  pool[*peer] // of these, those that never answered
	crowdAt  int         // in topic.crowds, counted from 1
}

// fromLAN reports whether p is a plain TCP service that somebody on the LAN told of.
func fromLAN(p *discovery.Peer) bool {
	return p.Service != nil && p.Service.Source == discovery.SourceLAN
}

// sourceAt returns the address that names the source of p; the zero one for all that are nowhere.
func sourceAt(p *discovery.Peer) (ip netip.Addr) {
	if len(p.Service.At) > 0 {
		ip = p.Service.At[0].Addr()
	}
	return ip
}

// resource notes who told of p, which has been seen or is to be forgotten, or has answered.
func (t *topic) resource(p *peer) {
	var now *source
	if p.known && fromLAN(&p.Peer) {
		ip := sourceAt(&p.Peer)
		if now = t.sources[ip]; now == nil {
			t.sweepSources()
			now = &source{since: t.now}
			put(&t.sources, ip, now)
		}
	}
	before := p.source
	if p.untried > 0 && (now != before || p.answered) {
		before.untried.remove(p.untried)
		p.untried = 0
	}
	if now != before {
		if before != nil {
			if before.peers--; before.peers == 0 {
				t.tellers--
			}
		}
		if p.source = now; now != nil {
			if now.peers++; now.peers == 1 {
				t.tellers++
			}
			if !p.answered {
				p.untried = now.untried.add(p)
			}
		}
	}
	for _, s := range [...]*source{before, now} {
		if s != nil && s.untried.size() > 1 {
			t.crowds.add(s)
		} else if s != nil {
			t.crowds.remove(s)
		}
	}
}

// sweepSources forgets the sources without peers, once there are many.
func (t *topic) sweepSources() {
	if len(t.sources) < max(t.sweepAt, sourcesSwept) {
		return
	}
	for ip, s := range t.sources {
		if s.peers == 0 {
			delete(t.sources, ip)
		}
	}
	t.sweepAt = 2 * len(t.sources)
}

// crowded returns a service that never answered, to be forgotten for another peer. It belongs to
// the source of that peer, if that source has its equal part of the room. Else it belongs to a
// source with several services: the one with most of some that are chosen at random. Else it
// belongs to the one of some that came last.
func (t *topic) crowded(d *discovery.Peer) (p *peer, ok bool) {
	if fromLAN(d) {
		own := t.sources[sourceAt(d)]
		if own != nil && own.untried.size() >= max(t.router.cfg.MaxPeers/max(t.tellers, 1), 1) {
			return own.untried.first()
		}
	}
	var most *source
	if n := len(t.crowds.items); n > 0 {
		for range probes {
			if s := t.crowds.items[rand.IntN(n)]; most == nil || s.untried.size() > most.untried.size() {
				most = s
			}
		}
		return most.untried.first()
	}
	k := 0
	for _, s := range t.sources { // a random order
		if s.untried.size() > 0 && (most == nil || s.since.After(most.since)) {
			most = s
		}
		if k++; k >= probes && most != nil {
			break
		}
	}
	if most == nil {
		return nil, false
	}
	return most.untried.first()
}

// answer notes that a service of s has answered: its others may be dialed as if none had failed.
func (t *topic) answer(s *source) {
	vain := s.vain
	if s.answered, s.vain = true, false; !vain {
		return
	}
	for _, e := range s.untried.entries {
		if e.live && e.item.class > 0 {
			t.relist(e.item)
		}
	}
}

// suspect reports whether p never answered, and the last dial of its source was in vain.
func (p *peer) suspect() bool { return p.source != nil && p.source.vain && !p.answered }
