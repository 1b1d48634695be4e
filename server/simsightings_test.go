package server

import (
	"context"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is how a simulated host reports the endpoints of others to its topic.

// peer is an endpoint of h as others see it.
func (h *simHost) peer(e wtproto.EndpointID) discovery.Peer {
	return discovery.Peer{Network: h.Name(), ID: h.id + string(e[:]), Client: true}
}

func (t *simTopic) sight(c *simContact, e wtproto.EndpointID, holds time.Duration) {
	s := discovery.Sighting{
		Peer: c.host.peer(e), Holds: holds,
		More: c.state&wtproto.EndpointsMore != 0, Need: c.state&wtproto.EndpointsNeed != 0,
	}
	if t.h.id < c.host.id {
		s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
			return t.open(ctx, c.host, from, e)
		}
	}
	if c.found {
		t.push(s)
	}
	if s.PeerFoundUs = true; c.foundUs {
		t.push(s)
	}
}

func (t *simTopic) push(s discovery.Sighting) {
	t.news = append(t.news, s)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *simTopic) pull() []discovery.Sighting {
	t.h.net.mu.Lock()
	defer t.h.net.mu.Unlock()
	news := t.news
	t.news = nil
	return news
}
