package p2p

import (
	"bytes"
	"context"
	"slices"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"
)

const (
	// publicShared is a first estimate for the public DHT: topics that share so many bits have
	// their records at the same hosts, twenty of about ten thousand.
	publicShared = 9
	// maxSweep is how many topics are announced on one walk.
	maxSweep = 512
	// sweepEarly is how early a topic may be announced again if we talk to the hosts of its record
	// anyway, as a share of AnnounceEvery: one part of so many.
	sweepEarly = 4
)

// The same hosts of the DHT keep the records of neighbouring keys. So announcements are sorted by
// these keys. One walk announces all topics that are due, or nearly so, and that share enough bits
// with the topic of the walk.

// announce announces the topic of j, and those near it. walk ends with the topic of j.
func (p *planner) announce(ctx, walk context.Context, j *job) {
	empty := p.walker.empty()
	p.mu.Lock()
	alone := len(p.nearLocked(j, p.shared, 1)) == 0
	p.mu.Unlock()
	jobs, errs := []*job{j}, []error{nil}
	if alone && !empty {
		errs[0] = p.walker.provide(walk, j.of.digest)
		p.done(jobs, errs, false)
		return
	}
	peers, shared, err := p.walker.closest(walk, j.of.digest)
	if err != nil {
		errs[0] = err
		p.done(jobs, errs, empty)
		return
	}
	p.mu.Lock()
	p.shared = shared
	for _, o := range p.nearLocked(j, shared, maxSweep-1) {
		p.stopLocked(o)
		o.running = true
		jobs = append(jobs, o)
	}
	p.mu.Unlock()
	digests := make([][32]byte, len(jobs))
	for i, o := range jobs {
		digests[i] = o.of.digest
	}
	p.done(jobs, p.walker.put(ctx, peers, digests), len(peers) == 0)
}

// nearLocked returns up to n announcements whose keys share so many bits with that of j, and that
// are due or nearly so.
func (p *planner) nearLocked(j *job, shared, n int) (near []*job) {
	now := time.Now()
	old := now.Add(p.settings.AnnounceEvery/sweepEarly - p.settings.AnnounceEvery)
	due := func(o *job) bool {
		if o.due.IsZero() {
			return !o.since.IsZero()
		}
		return !o.due.After(now) || o.last.Before(old)
	}
	if shared > 8*len(j.of.key) {
		return nil
	}
	index := func(key kb.ID) int {
		i, _ := slices.BinarySearchFunc(p.keys, key, func(o *job, k kb.ID) int { return bytes.Compare(o.of.key, k) })
		return i
	}
	low, high := within(j.of.key, shared)
	for _, o := range p.keys[index(low):min(index(high)+1, len(p.keys))] {
		if len(near) == n {
			break
		}
		if o != j && !o.running && due(o) && kb.CommonPrefixLen(o.of.key, j.of.key) >= shared {
			near = append(near, o)
		}
	}
	return near
}

// within returns the lowest and the highest key that share bits with k.
func within(k kb.ID, bits int) (low, high kb.ID) {
	low, high = make(kb.ID, len(k)), make(kb.ID, len(k))
	for i := range k {
		rest := byte(0xff) >> min(max(bits-8*i, 0), 8) // the bits of the byte that may differ
		low[i], high[i] = k[i]&^rest, k[i]|rest
	}
	return low, high
}

// indexLocked adds an announcement to the sorted ones, or removes it.
func (p *planner) indexLocked(j *job) {
	i, found := slices.BinarySearchFunc(p.keys, j, func(a, b *job) int { return bytes.Compare(a.of.key, b.of.key) })
	switch {
	case j.wanted && !found:
		p.keys = slices.Insert(p.keys, i, j)
	case !j.wanted && found && p.keys[i] == j:
		p.keys = slices.Delete(p.keys, i, i+1)
	}
}

// sharedBits returns how many bits another key must share with key so that the same peers keep its
// record. peers are the closest to key, at most most. If there are fewer, they are all peers of
// the DHT, and keep everything. Otherwise it is one bit more than the farthest peer shares with
// key. If too few peers are nearer than that one, no other key is sure to have the same peers, and
// it returns more bits than a key has.
func sharedBits(key kb.ID, peers []kb.ID, most int) int {
	if len(peers) < most {
		return 0
	}
	bits := 8 * len(key)
	for _, id := range peers {
		bits = min(bits, kb.CommonPrefixLen(key, id))
	}
	nearer := 0
	for _, id := range peers {
		if kb.CommonPrefixLen(key, id) > bits {
			nearer++
		}
	}
	if nearer < most/4 {
		return 8*len(key) + 1
	}
	return bits + 1
}
