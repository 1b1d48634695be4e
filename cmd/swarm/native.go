package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxNativePeers    = 1024 // that are remembered
	maxNativeCircuits = 1024 // that others opened
	maxNativeDials    = 8    // at once
	retryMin          = time.Second
	retryMax          = 2 * time.Minute
)

// native is a native peer on one topic: it opens a first circuit with each peer that it can, and
// takes those that others open.
type native struct {
	program *program
	crowd   *crowd
	streams bool           // it takes further circuits with a peer
	dials   chan struct{}  // holds one for each dial in progress
	inbound chan struct{}  // holds one for each circuit that others opened
	wg      sync.WaitGroup // of circuits and dials

	mu    sync.Mutex
	peers map[string]*known // guarded by mu; by id
}

// known is a peer that we open circuits with.
type known struct {
	peer discovery.Peer // constant
	gone chan struct{}  // closed when the peer left

	// guarded by native.mu
	dial  func(context.Context, wtproto.EndpointID) (discovery.Stream, error)
	until time.Time // it is forgotten then; zero for never
	done  bool      // there is nothing to do but to remember it
}

// newNative returns a native peer that serves circuits with h, and with streams further ones too.
func newNative(p *program, h handler, streams bool) *native {
	return &native{
		program: p,
		streams: streams,
		crowd:   &crowd{events: p.events, handler: h},
		dials:   make(chan struct{}, maxNativeDials),
		inbound: make(chan struct{}, maxNativeCircuits),
		peers:   make(map[string]*known),
	}
}

// run is on the topic until ctx ends, closes the networks, and returns once all circuits are over.
func (v *native) run(ctx context.Context, topic wtproto.Topic, networks []discovery.Network) error {
	var joins sync.WaitGroup
	for _, n := range networks {
		joins.Go(func() {
			for s, err := range n.Join(ctx, topic, discovery.Native()) {
				if err != nil {
					v.program.log.Warn("network failing", "network", n.Name(), "error", err)
					continue
				}
				v.see(ctx, s)
			}
		})
	}
	joins.Wait()
	err := closeAll(networks)
	v.wg.Wait()
	return err
}

// see acts on a sighting.
func (v *native) see(ctx context.Context, s discovery.Sighting) {
	if s.Inbound != nil {
		v.take(ctx, s)
	}
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.peers[s.Peer.ID]
	if k != nil && (s.Gone || k.done && k.expired(now)) {
		close(k.gone)
		delete(v.peers, s.Peer.ID)
		k = nil
	}
	if s.Gone || s.Dial == nil || s.Holds == 0 {
		return
	}
	isNew := k == nil
	if isNew {
		if !v.makeRoomLocked(now) {
			return
		}
		k = &known{peer: s.Peer, gone: make(chan struct{})}
		v.peers[s.Peer.ID] = k
	}
	k.dial, k.until = s.Dial, time.Time{}
	if s.Holds > 0 {
		k.until = now.Add(s.Holds)
	}
	if isNew {
		v.wg.Go(func() { v.keep(ctx, k) })
	}
}

// makeRoomLocked reports whether another peer can be remembered.
func (v *native) makeRoomLocked(now time.Time) bool {
	if len(v.peers) < maxNativePeers {
		return true
	}
	for id, k := range v.peers {
		if k.done && k.expired(now) {
			close(k.gone)
			delete(v.peers, id)
		}
	}
	return len(v.peers) < maxNativePeers
}

// expired reports whether nobody has seen k for as long as it was to be remembered.
func (k *known) expired(now time.Time) bool { return !k.until.IsZero() && now.After(k.until) }

// take answers a peer that opened a circuit.
func (v *native) take(ctx context.Context, s discovery.Sighting) {
	if s.Inbound.Further() && !v.streams {
		s.Inbound.Refuse(wtproto.CodeDeclined)
		return
	}
	select {
	case v.inbound <- struct{}{}:
	default:
		s.Inbound.Refuse(wtproto.CodeBusy)
		return
	}
	v.wg.Go(func() {
		defer func() { <-v.inbound }()
		c, err := s.Inbound.Accept()
		if err != nil {
			v.program.log.Debug("circuit lost before it began", "error", err)
			return
		}
		v.crowd.serve(ctx, c, newPeer([]byte(s.Peer.ID), s.Peer.Network, s.Peer.Address, false, s.Peer.Client)) // the events have its error
	})
}

// keep has a circuit with k, and again where it was lost, for as long as k is remembered. Once it has ended otherwise, that
// is done until k left and came again, or was not seen for long.
func (v *native) keep(ctx context.Context, k *known) {
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		k.done = true
	}()
	retry := backoff.New(retryMin, retryMax)
	for {
		err := v.connect(ctx, k, &retry)
		if !isLoss(err) {
			return
		}
		v.program.log.Debug("trying a peer again", "id", newPeer([]byte(k.peer.ID), "", "", false, k.peer.Client).ID, "error", err)
		select {
		case <-time.After(retry.Next()):
		case <-k.gone:
			return
		case <-ctx.Done():
			return
		}
		v.mu.Lock()
		expired := k.expired(time.Now())
		v.mu.Unlock()
		if expired {
			return
		}
	}
}

// connect opens a circuit with k and serves it. The error is that of the dial, or of the circuit.
func (v *native) connect(ctx context.Context, k *known, retry *backoff.Backoff) error {
	select {
	case v.dials <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	v.mu.Lock()
	dial := k.dial
	v.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	c, err := dial(limited, wtproto.EndpointID{})
	cancel()
	<-v.dials
	if err != nil {
		return err
	}
	retry.Reset()
	_, err = v.crowd.serve(ctx, c, newPeer([]byte(k.peer.ID), k.peer.Network, k.peer.Address, true, k.peer.Client))
	return err
}

// isLoss reports whether err says that a peer could not be reached or was lost, and not that somebody wanted an end.
func isLoss(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && (e.Code == wtproto.CodePeerGone || e.Code == wtproto.CodePeerUnreachable || e.Code == wtproto.CodeBusy)
}

func closeAll(networks []discovery.Network) error {
	var errs []error
	for _, n := range networks {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
