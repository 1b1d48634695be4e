package dat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// join is one call of Join.
type join struct {
	network  *network
	topic    wtproto.Topic
	presence *discovery.Presence
	updates  discovery.Updates

	// guarded by Host.mu
	trail   *trail          // nil while nobody is on the topic
	state   discovery.State // zero while nobody is
	inbox   []*inbound      // not yielded yet
	over    bool            // it yields nothing any more
	unheard error           // why the topic is not announced, though it should be

	// owned by watch
	door *door // on a port of the topic; nil without

	// owned by the caller of Join
	reported map[address]uint64 // the version of each
	health   string             // that was reported last
}

// Join yields the peers of topic as they are found. A topic is looked up and announced while
// somebody is on it, and not in the grace time of the gateway.
func (n *network) Join(ctx context.Context, topic wtproto.Topic, presence *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(yield func(discovery.Sighting, error) bool) {
		if !n.host.enter() {
			return
		}
		defer n.host.routines.Done()
		j := &join{network: n, topic: topic, presence: presence, updates: discovery.NewUpdates(), reported: make(map[address]uint64)}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.host.life, cancel)()
		var watch sync.WaitGroup
		watch.Go(func() { j.watch(ctx) })
		defer watch.Wait()
		defer cancel()
		defer j.refuseAll()
		for _, x := range j.updates.Yield(ctx, j.news, yield) {
			if x.Sighting.Inbound != nil {
				x.Sighting.Inbound.Refuse(wtproto.CodeLeft)
			}
		}
	}
}

// watch follows the trail that the presence asks for, until ctx ends and all is withdrawn.
func (j *join) watch(ctx context.Context) {
	h := j.network.host
	var ending []<-chan struct{}
	left := func(done <-chan struct{}) {
		if done != nil {
			ending = append(ending, done)
		}
		for len(ending) > 0 && isClosed(ending[0]) {
			ending = ending[1:]
		}
	}
	defer func() {
		for _, done := range ending {
			<-done
		}
	}()
	defer j.closeDoor()
	defer func() { left(h.unfollow(j)) }()
	for {
		freed := h.ports.wait()
		state, changed := j.presence.State()
		if len(state.Endpoints) == 0 || !state.Announce && !state.LookUp {
			left(h.unfollow(j))
			j.closeDoor()
		} else {
			port, err := j.port(state)
			if err == nil {
				freed = nil
			}
			left(h.follow(j, trailKey{idOf(j.topic), port}, state, err))
			if port == 0 {
				j.closeDoor()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-freed:
		}
	}
}

// port returns the port to announce, and opens it. It returns 0 if the topic is not to be
// announced, or cannot be.
func (j *join) port(state discovery.State) (uint16, error) {
	h := j.network.host
	if !state.Announce {
		return 0, nil
	}
	if j.door != nil {
		return j.door.port(), nil
	}
	var err error
	if h.ports.size > 0 {
		ln, failed := h.ports.take()
		if failed == nil {
			j.door = h.open(ln, j)
			return j.door.port(), nil
		}
		err = failed
	}
	switch {
	case h.shared != nil && !j.network.handshake:
		return h.shared.port(), nil
	case err != nil:
		return 0, err
	case j.network.handshake:
		return 0, errNoPorts
	}
	return 0, errNoListener
}

var (
	errNoPorts    = wtproto.Errorf(wtproto.CodePeerUnreachable, "peers cannot find this topic, it only looks up: the network discovery-swarm needs --dat-ports for that")
	errNoListener = wtproto.Errorf(wtproto.CodePeerUnreachable, "peers cannot find this topic, it only looks up: that needs --dat-listen or --dat-ports")
)

// closeDoor closes the port of the topic, if it has one.
func (j *join) closeDoor() {
	if j.door == nil {
		return
	}
	j.door.close()
	j.network.host.ports.give(j.door.ln)
	j.door = nil
}

// refuseAll drops the connections that wait for an answer, and all later ones, and forgets who
// answered where.
func (j *join) refuseAll() {
	h := j.network.host
	h.mu.Lock()
	j.over = true
	waiting := j.inbox
	j.inbox = nil
	if j.network.handshake {
		delete(h.names, j.topic)
	}
	h.mu.Unlock()
	for _, i := range waiting {
		i.Refuse(wtproto.CodeLeft)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// news returns what j has not reported yet, and marks it as reported.
func (j *join) news() (list []discovery.Update) {
	h, now := j.network.host, time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range j.inbox {
		list = append(list, discovery.Update{Sighting: discovery.Sighting{Peer: j.network.peerOf(i.offer.visitor), PeerFoundUs: true, Inbound: i}})
	}
	j.inbox = nil
	t := j.trail
	if t == nil {
		return list
	}
	if x, ok := j.healthLocked(t); ok {
		list = append(list, x)
	}
	for a := range j.reported {
		if t.found[a] == nil {
			delete(j.reported, a)
			if h.isOwnLocked(a.at, now) {
				list = append(list, discovery.Update{Sighting: discovery.Sighting{Peer: j.network.peer(j.topic, a), Gone: true}})
			}
		}
	}
	for a, f := range t.found {
		if now.Sub(f.seen) >= holds {
			delete(t.found, a)
			t.counts[f.way]--
			delete(j.reported, a)
			continue
		}
		if j.reported[a] != f.version {
			j.reported[a] = f.version
			list = append(list, discovery.Update{Sighting: j.network.sighting(j.topic, a)})
		}
	}
	return list
}

// healthLocked returns what to say of the network, if that has changed.
func (j *join) healthLocked(t *trail) (discovery.Update, bool) {
	works, err := t.worksLocked()
	var x discovery.Update
	switch {
	case works:
		x.Sighting.Note = t.noteLocked(j)
	case err == nil:
		return x, false
	default:
		x.Err = fmt.Errorf("dat: %w", coded(err))
	}
	text := fmt.Sprint(works, x.Sighting.Note, x.Err)
	if text == j.health {
		return x, false
	}
	j.health = text
	return x, true
}

// coded gives err, of a way, a code if it has none.
func coded(err error) error {
	if _, ok := errors.AsType[*wtproto.Error](err); ok {
		return err
	}
	return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "the ways to old peers do not work: the gateway's log and /api/topics say why", Err: err}
}

// reasonOf returns err in words for people.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Reason != "" {
		return e.Reason
	}
	return "the gateway's log says why"
}
