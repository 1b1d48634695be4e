package dat

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// holds is how long a peer is remembered after a way has found it: longer than the longest time
	// between two look-ups of a way.
	holds = 20 * time.Minute
	// renew is how old a sighting must be for the next one of the same address to be news.
	renew = holds / 4
	// maxFound is how many addresses of an id each way is remembered to have found. Whoever forges
	// answers of one way can drive out only what that way has found.
	maxFound = 256
)

// trailKey is what ways follow.
type trailKey struct {
	id   id
	port uint16 // that is announced; 0 announces nothing
}

// trail is one id, followed with one port on all ways, for all joins that want that. Host.mu
// guards all of it.
type trail struct {
	host     *Host
	key      trailKey
	presence *discovery.Presence // of all joins together
	states   map[*join]discovery.State
	stop     context.CancelFunc
	done     chan struct{} // closed when all ways have left

	found   map[address]*finding
	counts  []int    // of found, by way
	health  []health // by way
	refused error    // why the last address that was found must not be dialed
}

// finding is an address at which a way found a peer.
type finding struct {
	way     int       // that found it first
	seen    time.Time // last
	told    time.Time // when version was made
	version uint64    // changes when joins should tell of it again
}

// health says whether a way works.
type health struct {
	known bool
	err   error
}

// follow makes j follow key as state says, and no other trail. unheard says why the topic is not
// announced, though it should be. follow returns a channel that is closed
// when the trail that j has left is over, or nil if it goes on for others, or there was none.
func (h *Host) follow(j *join, key trailKey, state discovery.State, unheard error) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	var left <-chan struct{}
	if j.trail != nil && j.trail.key != key {
		left = h.leaveLocked(j)
	}
	t := h.trails[key]
	if t == nil {
		t = h.startLocked(key)
	}
	j.trail, j.state, j.unheard = t, state, unheard
	if h.present[key.id] == nil {
		h.present[key.id] = make(map[*join]struct{})
	}
	h.present[key.id][j] = struct{}{}
	t.states[j] = state
	t.tuneLocked()
	j.updates.Wake()
	return left
}

// unfollow makes j leave its trail, if it follows one. It returns what follow returns.
func (h *Host) unfollow(j *join) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaveLocked(j)
}

func (h *Host) leaveLocked(j *join) <-chan struct{} {
	t := j.trail
	if t == nil {
		return nil
	}
	j.trail, j.state, j.unheard = nil, discovery.State{}, nil
	delete(h.present[t.key.id], j)
	if len(h.present[t.key.id]) == 0 {
		delete(h.present, t.key.id)
	}
	delete(t.states, j)
	if len(t.states) > 0 {
		t.tuneLocked()
		return nil
	}
	t.stop()
	delete(h.trails, t.key)
	h.ending[t.key] = t.done
	return t.done
}

// startLocked follows key. If that was left just now, it waits until it is withdrawn.
func (h *Host) startLocked(key trailKey) *trail {
	t := &trail{
		host: h, key: key,
		presence: discovery.NewPresence(discovery.State{}),
		states:   make(map[*join]discovery.State),
		done:     make(chan struct{}),
		found:    make(map[address]*finding),
		counts:   make([]int, len(h.ways)),
		health:   make([]health, len(h.ways)),
	}
	h.trails[key] = t
	ctx, cancel := context.WithCancel(h.life)
	t.stop = cancel
	before := h.ending[key]
	h.routines.Go(func() {
		defer cancel()
		if before != nil {
			<-before
		}
		t.run(ctx)
	})
	return t
}

// run follows the trail on all ways until ctx ends.
func (t *trail) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, w := range t.host.ways {
		wg.Go(func() {
			w.follow(ctx, t.key.id, t.presence, t.key.port,
				func(a address) { t.see(i, a) },
				func(err error) { t.report(i, err) })
		})
	}
	wg.Wait()
	t.host.mu.Lock()
	defer t.host.mu.Unlock()
	if t.host.ending[t.key] == t.done {
		delete(t.host.ending, t.key)
	}
	close(t.done)
}

// tuneLocked tells the ways what all joins want together.
func (t *trail) tuneLocked() {
	var all discovery.State
	for _, s := range t.states {
		all.Announce = all.Announce || s.Announce
		all.LookUp = all.LookUp || s.LookUp
		all.Want += s.Want
		all.Need = all.Need || s.Need
		all.Endpoints = append(all.Endpoints, s.Endpoints...)
		all.For = append(all.For, s.For...)
	}
	all.For = all.For[:min(len(all.For), discovery.MaxPayers)]
	t.presence.Set(all)
}

// see notes that a way has found a.
func (t *trail) see(way int, a address) {
	a.at = netip.AddrPortFrom(a.at.Addr().Unmap(), a.at.Port())
	err := mayDial(a)
	if err == nil {
		err = t.host.cfg.Policy.Check(a.source, a.at)
	}
	now := time.Now()
	t.host.mu.Lock()
	defer t.host.mu.Unlock()
	if t.host.isOwnLocked(a.at, now) {
		return
	}
	if err != nil {
		if t.refused == nil {
			t.wakeLocked()
		}
		t.refused = err
		return
	}
	f := t.found[a]
	if f == nil {
		if t.counts[way] >= maxFound {
			t.forgetLocked(way)
		}
		f = &finding{way: way}
		t.found[a] = f
		t.counts[way]++
	}
	f.seen = now
	if now.Sub(f.told) < renew {
		return
	}
	f.told = now
	f.version++
	t.wakeLocked()
}

// forgetLocked forgets the address that way has not found for the longest time.
func (t *trail) forgetLocked(way int) {
	var oldest address
	var since time.Time
	for a, f := range t.found {
		if f.way == way && (since.IsZero() || f.seen.Before(since)) {
			oldest, since = a, f.seen
		}
	}
	delete(t.found, oldest)
	t.counts[way]--
}

// dropLocked forgets the addresses of at.
func (t *trail) dropLocked(at netip.AddrPort) {
	for a, f := range t.found {
		if a.at == at {
			delete(t.found, a)
			t.counts[f.way]--
		}
	}
	t.wakeLocked()
}

// report notes whether a way works.
func (t *trail) report(way int, err error) {
	t.host.mu.Lock()
	defer t.host.mu.Unlock()
	before := t.health[way]
	t.health[way] = health{known: true, err: err}
	if before.known && (before.err == nil) == (err == nil) && (err == nil || before.err.Error() == err.Error()) {
		return
	}
	if err != nil {
		t.host.log.Debug("way failing", "way", t.host.ways[way].name(), "error", err)
	}
	t.wakeLocked()
}

func (t *trail) wakeLocked() {
	for j := range t.states {
		j.updates.Wake()
	}
}

// works returns whether some way works, or why none does; nil and false if that is not known yet.
func (t *trail) worksLocked() (works bool, err error) {
	for _, w := range t.health {
		if w.known && w.err == nil {
			return true, nil
		}
	}
	for _, w := range t.health {
		if !w.known {
			return false, nil // it may work
		}
		if err == nil {
			err = w.err
		}
	}
	return false, err
}

// noteLocked returns what keeps j from finding others, or from being found, though a way works.
func (t *trail) noteLocked(j *join) error {
	if t.refused != nil && len(t.found) == 0 {
		return t.refused
	}
	if j.unheard != nil {
		return j.unheard
	}
	for i, w := range t.health {
		if w.err != nil {
			return wtproto.Errorf(wtproto.CodePeerUnreachable, "%s does not work, other ways do: %s", t.host.ways[i].name(), reasonOf(w.err))
		}
	}
	return nil
}
