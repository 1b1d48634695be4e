package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client/secret"
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

// nativePeer is a peer on one topic without a gateway: it opens a first circuit with each peer
// that it can, and takes those that others open.
type nativePeer struct {
	program    *program
	dispatcher *dispatcher
	streams    bool           // it takes further circuits with a peer
	room       *secret.Room   // that its circuits are sealed in; nil for none
	dials      chan struct{}  // holds one for each dial in progress
	inbound    chan struct{}  // holds one for each circuit that others opened
	wg         sync.WaitGroup // of circuits and dials

	mu    sync.Mutex
	peers map[string]*knownPeer // guarded by mu; by id
}

// knownPeer is a peer that this one opens circuits with.
type knownPeer struct {
	peer discovery.Peer // constant
	gone chan struct{}  // closed when the peer left

	// guarded by native.mu
	dial  func(context.Context, wtproto.EndpointID) (discovery.Stream, error)
	until time.Time // it is forgotten then; zero for never
	done  bool      // there is nothing to do but to remember it
}

// newNativePeer returns a native peer that gives circuits to h. With streams it takes further
// circuits of a peer too.
func newNativePeer(p *program, h handler, streams bool) *nativePeer {
	return &nativePeer{
		program:    p,
		streams:    streams,
		dispatcher: &dispatcher{events: p.events, handler: h},
		dials:      make(chan struct{}, maxNativeDials),
		inbound:    make(chan struct{}, maxNativeCircuits),
		peers:      make(map[string]*knownPeer),
	}
}

// run is on the topic until ctx ends, closes the networks, and returns once all circuits are over.
func (v *nativePeer) run(ctx context.Context, topic wtproto.Topic, networks []discovery.Network) error {
	var joins sync.WaitGroup
	for _, n := range networks {
		joins.Go(func() {
			for s, err := range n.Join(ctx, topic, discovery.Native()) {
				if err != nil {
					v.program.log.Warn("network failing", "network", n.Name(), "error", err)
					continue
				}
				v.handleSighting(ctx, s)
			}
		})
	}
	joins.Wait()
	err := closeAll(networks)
	v.wg.Wait()
	return err
}

// handleSighting takes an inbound circuit, and remembers or forgets the peer.
func (v *nativePeer) handleSighting(ctx context.Context, s discovery.Sighting) {
	if s.Inbound != nil {
		v.accept(ctx, s)
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
		k = &knownPeer{peer: s.Peer, gone: make(chan struct{})}
		v.peers[s.Peer.ID] = k
	}
	k.dial, k.until = s.Dial, time.Time{}
	if s.Holds > 0 {
		k.until = now.Add(s.Holds)
	}
	if isNew {
		v.wg.Go(func() { v.maintain(ctx, k) })
	}
}

// makeRoomLocked reports whether another peer can be remembered.
func (v *nativePeer) makeRoomLocked(now time.Time) bool {
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

// expired reports whether no network has reported k for as long as it was to be remembered.
func (k *knownPeer) expired(now time.Time) bool { return !k.until.IsZero() && now.After(k.until) }

// accept answers a peer that opened a circuit.
func (v *nativePeer) accept(ctx context.Context, s discovery.Sighting) {
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
		// The events have its error.
		v.serve(ctx, c, newPeerInfo([]byte(s.Peer.ID), s.Peer.Network, s.Peer.Address, false, s.Peer.Client))
	})
}

// maintain opens a circuit with k, and opens another one whenever it was lost, for as long as k is
// remembered. After any other end it opens none until k has left and come again, or has expired.
func (v *nativePeer) maintain(ctx context.Context, k *knownPeer) {
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
		v.program.log.Debug("trying a peer again", "id", newPeerInfo([]byte(k.peer.ID), "", "", false, k.peer.Client).ID, "error", err)
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
func (v *nativePeer) connect(ctx context.Context, k *knownPeer, retry *backoff.Backoff) error {
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
	err = v.serve(ctx, c, newPeerInfo([]byte(k.peer.ID), k.peer.Network, k.peer.Address, true, k.peer.Client))
	return err
}

// serve seals a circuit, if that is wanted, and serves it.
func (v *nativePeer) serve(ctx context.Context, c discovery.Stream, info peerInfo) error {
	if v.room == nil {
		_, err := v.dispatcher.serve(ctx, c, info)
		return err
	}
	sealed, err := v.room.SealCircuit(ctx, c, info.Initiator)
	if err != nil {
		v.program.log.Debug("a peer does not know the secret", "id", info.name(), "error", err)
		return err
	}
	info.Key = sealed.Key().String()
	_, err = v.dispatcher.serve(ctx, sealed, info)
	return err
}

// isLoss reports whether err says that a peer was lost, busy or out of reach, and not that one of
// the two wanted the end.
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
