package p2p

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// remote is another host on a topic. Everything in it is guarded by topic.mu.
type remote struct {
	id      peer.ID
	network string         // how it was found
	addrs   []ma.Multiaddr // where
	named   bool           // addrs are the operator's
	guess   bool           // nobody has said that it is on the topic
	found   bool           // we found it
	foundUs bool           // it found us
	seen    time.Time      // when it was found, or met, last

	queued   bool // it is to be met
	noticed  bool // it knows that we found it
	retry    backoff.Backoff
	next     time.Time // it is not tried again before
	left     bool      // it was there, and has left
	failed   error     // why it could not be met
	failedAt time.Time

	sent, received *meeting // on which we, and it, sent MEET; at most one for longer than a moment
	metAt          time.Time
	gateway        bool
	address        string
	endpoints      map[wtproto.EndpointID]bool
	more           bool          // it has others
	asks           *rate.Limiter // of its MEETs
}

func newRemote(id peer.ID, h *Host) *remote {
	return &remote{
		id: id, guess: true, seen: time.Now(), retry: backoff.New(h.RetryMin, h.RetryMax),
		asks: rate.NewLimiter(1, 8),
	}
}

// learn notes how r was found.
func (r *remote) learn(p target) {
	r.seen = time.Now()
	r.guess = r.guess && p.guess
	if p.named || !r.named && !r.found {
		r.network = p.network
	}
	if p.named || len(p.addrs) > 0 && !r.named {
		if slices.ContainsFunc(p.addrs, func(m ma.Multiaddr) bool { return !ma.Contains(r.addrs, m) }) {
			r.next = time.Time{} // it failed somewhere else
		}
		r.addrs, r.named = p.addrs, p.named
	}
}

// met reports whether there is a meeting with r.
func (r *remote) met() bool { return r.sent != nil && r.sent.live || r.received != nil }

// idle reports whether nothing is going on with r.
func (r *remote) idle() bool { return r.sent == nil && r.received == nil && !r.queued }

// meet tries to meet r, and stays for the meeting.
func (t *topic) meet(r *remote) {
	m, err := t.reach(r)
	t.mu.Lock()
	t.meets--
	r.queued = false
	if err != nil && t.ctx.Err() == nil {
		t.failedLocked(r, err)
	}
	t.pumpLocked()
	t.mu.Unlock()
	if err == nil {
		m.hold()
	}
}

// reach connects to r, sends MEET, and returns the meeting once it is answered.
func (t *topic) reach(r *remote) (*meeting, error) {
	t.mu.Lock()
	where := target{id: r.id, addrs: r.addrs, named: r.named}
	t.mu.Unlock()
	if err := t.h.locate(t.ctx, &where); err != nil {
		return nil, err
	}
	if err := t.h.connect(t.ctx, where); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.h.AnswerTimeout)
	defer cancel()
	s, err := t.h.openStream(ctx, r.id)
	if err != nil {
		return nil, err
	}
	m := &meeting{t: t, r: r, s: s, frames: wtproto.NewReader(s.rw), ours: true}
	t.h.ties.addMeeting(r.id, true)
	t.mu.Lock()
	r.sent = m
	t.mu.Unlock()
	stop := context.AfterFunc(t.ctx, func() { reset(s, wtproto.CodeLeft) })
	met, err := m.ask()
	stop()
	if err != nil {
		reset(s, codeOf(err))
		t.ended(m)
		return nil, err
	}
	t.met(m, met.Flags, wtproto.Endpoints{More: met.More, Endpoints: met.Endpoints})
	return m, nil
}

// failedLocked notes that r could not be met.
func (t *topic) failedLocked(r *remote, err error) {
	delay := r.retry.Next()
	if r.guess { // it may join any time, and would not be found
		delay = min(delay, t.h.LookUpEvery)
	}
	r.next = time.Now().Add(delay)
	code := codeOf(err)
	if code == wtproto.CodeLeft || code == wtproto.CodeShutdown {
		r.left = true
	}
	switch {
	case code == wtproto.CodeReplaced: // it has found us too, and the meeting is on its stream
		r.noticed = true
		if !r.found {
			r.found = true
			t.sightLocked(r)
		}
	case r.guess || r.left: // as was to be expected
		t.log.Debug("host is not on the topic", "peer", r.id.String(), "error", err)
	default:
		if text(err) != text(r.failed) {
			level := slog.LevelDebug
			if now := time.Now(); now.Sub(t.complained) >= complainEvery {
				level, t.complained = slog.LevelInfo, now
			}
			t.log.Log(t.ctx, level, "host could not be met", "peer", r.id.String(), "network", r.network, "error", err)
		}
		r.failed, r.failedAt = err, time.Now()
		t.reportLocked()
	}
}

// welcome makes a meeting of a stream on which another host sent a good MEET, or returns with which code to refuse it.
func (t *topic) welcome(s stream, frames *wtproto.Reader) (*meeting, wtproto.Code) {
	id := s.Conn().RemotePeer()
	t.mu.Lock()
	r := t.remoteLocked(id)
	if r == nil {
		t.mu.Unlock()
		return nil, wtproto.CodeBusy
	}
	refuse := wtproto.CodeNone
	switch {
	case !r.asks.Allow():
		refuse = wtproto.CodeRateLimited
	case r.sent != nil && t.h.id < id: // both of us sent MEET, and ours stays
		refuse = wtproto.CodeReplaced
		if !r.foundUs {
			r.foundUs = true
			t.sightLocked(r)
		}
	case !t.h.ties.addMeeting(id, false):
		refuse = wtproto.CodeCircuitLimit
	}
	if refuse != wtproto.CodeNone {
		t.mu.Unlock()
		return nil, refuse
	}
	m := &meeting{t: t, r: r, s: s, frames: frames, live: true}
	older := [...]*meeting{r.sent, r.received}
	r.sent, r.received = nil, m
	r.foundUs = true
	if r.network == "" {
		r.network = t.h.networkOf(t.key, id)
	}
	t.mu.Unlock()
	for _, o := range older {
		if o != nil {
			reset(o.s, wtproto.CodeReplaced)
		}
	}
	return m, wtproto.CodeNone
}

// met says that MET went over the stream of m, and what the other host said of itself.
func (t *topic) met(m *meeting, flags wtproto.MeetFlags, e wtproto.Endpoints) {
	t.mu.Lock()
	r := m.r
	if r.sent != m && r.received != m { // replaced meanwhile
		t.mu.Unlock()
		return
	}
	m.live = true
	var older *meeting
	if m.ours {
		older, r.received = r.received, nil
		r.found, r.noticed = true, true
	}
	if r.metAt.IsZero() {
		r.metAt = time.Now()
	}
	r.seen, r.failed, r.left = time.Now(), nil, false
	r.gateway = flags&wtproto.MeetGateway != 0
	r.address = m.s.Conn().RemoteMultiaddr().String()
	t.updateLocked(r, e)
	t.sightLocked(r)
	t.reportLocked()
	t.mu.Unlock()
	if older != nil {
		reset(older.s, wtproto.CodeReplaced)
	}
}

// told says that the other host of m has other endpoints now.
func (t *topic) told(m *meeting, e wtproto.Endpoints) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := m.r; r.sent == m || r.received == m {
		before, more := r.endpoints, r.more
		t.updateLocked(r, e)
		for id := range r.endpoints {
			if !before[id] || r.more != more {
				t.sightEndpointLocked(r, id)
			}
		}
	}
}

// repeat says once more what endpoints r has, before that is forgotten.
func (t *topic) repeat(r *remote) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sightLocked(r)
}

// updateLocked replaces r's endpoints. Those that are missing have left, unless r has more than it tells of.
func (t *topic) updateLocked(r *remote, e wtproto.Endpoints) {
	before := r.endpoints
	r.more = e.More
	r.endpoints = make(map[wtproto.EndpointID]bool, len(e.Endpoints))
	for _, id := range e.Endpoints {
		if native := id == (wtproto.EndpointID{}); native != r.gateway {
			r.endpoints[id] = true
		}
	}
	for id := range before {
		if !r.endpoints[id] && !e.More {
			t.news.push(item{sighting: discovery.Sighting{Peer: t.peer(r.id, id, r), Gone: true}})
		}
	}
}

// ended says that m is over. With the last meeting of a host, its endpoints have left.
func (t *topic) ended(m *meeting) {
	t.h.ties.dropMeeting(m.r.id, m.ours)
	t.mu.Lock()
	defer t.mu.Unlock()
	r := m.r
	if r.sent == m {
		r.sent = nil
	}
	if r.received == m {
		r.received = nil
	}
	if r.sent != nil || r.received != nil || r.metAt.IsZero() {
		return
	}
	t.updateLocked(r, wtproto.Endpoints{})
	if time.Since(r.metAt) >= settled {
		r.retry.Reset()
		wake(t.again)
	}
	r.next = time.Now().Add(r.retry.Next())
	r.metAt, r.seen, r.failed = time.Time{}, time.Now(), nil
	r.found, r.foundUs, r.noticed, r.left = false, false, false, true
	t.reportLocked()
}

// sightLocked yields all that is known of r's endpoints.
func (t *topic) sightLocked(r *remote) {
	for id := range r.endpoints {
		t.sightEndpointLocked(r, id)
	}
}

func (t *topic) sightEndpointLocked(r *remote, id wtproto.EndpointID) {
	s := discovery.Sighting{Peer: t.peer(r.id, id, r), Holds: t.h.Hold, More: r.more}
	if host := r.id; opens(t.h.Gateway, t.h.id, r.gateway, host) {
		s.Dial = func(ctx context.Context, from wtproto.EndpointID) (discovery.Stream, error) {
			return t.h.open(ctx, t.key, host, from, id)
		}
	}
	if r.found {
		t.news.push(item{sighting: s})
	}
	if r.foundUs {
		s.FoundUs = true
		t.news.push(item{sighting: s})
	}
}

// opened yields a circuit that another host asks for.
func (t *topic) opened(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.hosts[in.pair.host]
	p := t.peer(in.pair.host, in.pair.from, r)
	if p.Address == "" {
		p.Address = in.s.Conn().RemoteMultiaddr().String()
	}
	t.news.push(item{sighting: discovery.Sighting{Peer: p, FoundUs: r == nil || r.foundUs, Inbound: in}})
}

// peer returns the name of endpoint e of a host, of which r is what is known, if anything.
func (t *topic) peer(host peer.ID, e wtproto.EndpointID, r *remote) discovery.Peer {
	p := discovery.Peer{ID: string(host)}
	if e != (wtproto.EndpointID{}) {
		p.ID += string(e[:])
		p.Client = true
	}
	if r != nil {
		p.Network, p.Address = r.network, r.address
	}
	if p.Network == "" {
		p.Network = t.h.networkOf(t.key, host)
	}
	return p
}
