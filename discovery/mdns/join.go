package mdns

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// join is one call of Join. It compares what there is with what it told, so however slowly its caller pulls, it holds no
// queue.
type join struct {
	topic wtproto.Topic
	value string        // topic in text form
	wake  chan struct{} // holds 1: something changed

	told   map[string]told // by instance; owned by the caller of Join
	health int             // the changes told of; owned by the caller of Join
}

// told is what the caller knows of an instance.
type told struct {
	peer    discovery.Peer
	version uint64 // of the instance
}

// news is one thing to yield.
type news struct {
	sighting discovery.Sighting
	err      error
}

func (j *join) wakeUp() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// wakeLocked wakes the joins of the topic whose text form is value.
func (n *Network) wakeLocked(value string) {
	for _, j := range n.joins[value] {
		j.wakeUp()
	}
}

// Join yields the services of topic that are there, again each time they are seen, and when they are gone for the time that
// a sighting holds. It needs [Network.Run], and ends with it.
func (n *Network) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		j := &join{topic: topic, value: topic.String(), wake: make(chan struct{}, 1), told: make(map[string]told)}
		n.mu.Lock()
		n.joins[j.value] = append(n.joins[j.value], j)
		n.mu.Unlock()
		defer n.leave(j)
		for {
			list, expiry := n.newsFor(j, time.Now())
			for _, x := range list {
				if ctx.Err() != nil || n.life.Err() != nil || !yield(x.sighting, x.err) {
					return
				}
			}
			if !j.wait(ctx, n.life, expiry) {
				return
			}
		}
	}
}

func (n *Network) leave(j *join) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rest := slices.DeleteFunc(n.joins[j.value], func(other *join) bool { return other == j })
	if n.joins[j.value] = rest; len(rest) == 0 {
		delete(n.joins, j.value)
	}
}

// wait returns true once there may be news: something changed, or expiry is over.
func (j *join) wait(ctx, life context.Context, expiry time.Duration) bool {
	var expired <-chan time.Time
	if expiry > 0 {
		expired = time.After(expiry)
	}
	select {
	case <-ctx.Done():
		return false
	case <-life.Done():
		return false
	case <-j.wake:
	case <-expired:
	}
	return true
}

// newsFor returns what j has not told, taking it as told, and in what time the first instance that it told of is gone
// unless it is seen again; 0 where there is none.
func (n *Network) newsFor(j *join, now time.Time) (list []news, expiry time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.health.changes != j.health {
		j.health = n.health.changes
		list = append(list, news{err: n.health.err}) // without an error: it works
	}
	for name, known := range j.told {
		if i := n.peers.all[name]; i == nil || i.value != j.value || !n.peers.isThere(i, now) {
			delete(j.told, name)
			list = append(list, news{sighting: discovery.Sighting{Peer: known.peer, Gone: true}})
		}
	}
	for _, i := range n.peers.all {
		if i.value != j.value || !n.peers.isThere(i, now) {
			continue
		}
		left := n.peers.hold - now.Sub(i.seen)
		if expiry == 0 || left < expiry {
			expiry = left
		}
		if i.version != j.told[i.name].version {
			s := n.sighting(j.topic, i, left)
			j.told[i.name] = told{peer: s.Peer, version: i.version}
			list = append(list, news{sighting: s})
		}
	}
	return list, expiry
}

// sighting returns what is told of i, which is there for left unless it is seen again.
func (n *Network) sighting(topic wtproto.Topic, i *instance, left time.Duration) discovery.Sighting {
	at := i.listPorts()
	s := discovery.Sighting{
		Peer: discovery.Peer{
			Network: name, ID: discovery.OpaqueID(name, topic, i.name),
			Service: &discovery.Service{Source: discovery.SourceLAN, At: at},
		},
		Holds: left,
	}
	refused := i.refused
	if refused != nil {
		s.Dial = func(context.Context, wtproto.EndpointID) (discovery.Stream, error) { return nil, refused }
		return s
	}
	var addrs []string
	for _, a := range at {
		addrs = append(addrs, a.String())
	}
	s.Peer.Address = "tcp://" + addrs[0]
	s.Dial = func(ctx context.Context, _ wtproto.EndpointID) (discovery.Stream, error) {
		return n.dialer.Dial(ctx, addrs...)
	}
	return s
}
