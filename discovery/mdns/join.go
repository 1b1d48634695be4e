package mdns

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// join is one call of Join.
type join struct {
	topic   wtproto.Topic
	value   string // topic in text form
	updates discovery.Updates

	reported map[key]reportedPeer // owned by the caller of Join
	health   int                  // how many changes it has reported; owned by the caller of Join
}

// reportedPeer is what the caller knows of an instance.
type reportedPeer struct {
	peer    discovery.Peer
	version uint64 // of the instance
}

// Join yields the services of topic when they come, again before their sighting expires, and when
// they are gone. It needs [Network.Run], and ends with it.
func (n *Network) Join(ctx context.Context, topic wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		j := &join{topic: topic, value: topic.String(), updates: discovery.NewUpdates(), reported: make(map[key]reportedPeer)}
		n.mu.Lock()
		n.joins[j.value] = append(n.joins[j.value], j)
		n.mu.Unlock()
		defer n.leave(j)
		n.browser.ask()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.life, cancel)()
		j.updates.Yield(ctx, func() []discovery.Update { return n.newsFor(j, time.Now()) }, yield)
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

// newsFor returns what j has not reported yet, and marks it as reported.
func (n *Network) newsFor(j *join, now time.Time) (list []discovery.Update) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.health.changes != j.health {
		j.health = n.health.changes
		list = append(list, discovery.Update{Err: n.health.err}) // without an error: the network works
	}
	there := n.peers.all[j.value]
	for k, known := range j.reported {
		if there[k] == nil {
			delete(j.reported, k)
			list = append(list, discovery.Update{Sighting: discovery.Sighting{Peer: known.peer, Gone: true}})
		}
	}
	var fresh []*instance
	for k, i := range there {
		if i.version != j.reported[k].version {
			fresh = append(fresh, i)
		}
	}
	slices.SortFunc(fresh, func(a, b *instance) int { return a.since.Compare(b.since) }) // oldest first
	for _, i := range fresh {
		s := n.sighting(j.topic, i, now)
		j.reported[i.key] = reportedPeer{peer: s.Peer, version: i.version}
		list = append(list, discovery.Update{Sighting: s})
	}
	return list
}

// sighting returns the sighting of i.
func (n *Network) sighting(topic wtproto.Topic, i *instance, now time.Time) discovery.Sighting {
	s := discovery.Sighting{
		Peer: discovery.Peer{
			Network: name, ID: discovery.OpaqueID(name, topic, i.iface+"/"+i.instance),
			Service: &discovery.Service{Source: discovery.SourceLAN, At: i.addrs},
		},
		Holds: max(i.expires.Sub(now), time.Millisecond),
	}
	refused := i.refused
	if refused != nil {
		s.Dial = func(context.Context, wtproto.EndpointID) (discovery.Stream, error) { return nil, refused }
		s.Further = s.Dial
		return s
	}
	var addrs []string
	for _, a := range i.addrs {
		addrs = append(addrs, a.String())
	}
	s.Peer.Address = "tcp://" + addrs[0]
	s.Dial = func(ctx context.Context, _ wtproto.EndpointID) (discovery.Stream, error) {
		return n.dialer.Dial(discovery.Through(ctx, i.iface), addrs...)
	}
	s.Further = s.Dial
	return s
}
