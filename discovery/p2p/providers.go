package p2p

import (
	"cmp"
	"container/list"
	"context"
	"encoding/base32"
	"net/netip"
	"slices"
	"sync"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

const (
	maxRecords      = 1 << 16 // that a DHT server keeps for others
	maxTopicRecords = 1 << 10 // of them for one topic
	maxHostRecords  = 1 << 14 // of them of one host
)

// records keeps announcements of others on a private DHT in memory, within limits. If a record has
// to go, it is the oldest one of the announcer that has most. If the topic is full, that is the
// address with most records in the topic. If a host has too many, it is that host. Otherwise it is
// the address with most records of all. So nobody can push out others that have less. There is
// always room for this host's own announcements. The DHT itself drops expired records.
type records struct {
	topicLimit, hostLimit int                      // constant
	self                  peer.ID                  // constant
	where                 func(peer.ID) netip.Addr // constant; the address that a host announces from

	mu     sync.Mutex
	topics map[ds.Key][]*record   // guarded by mu, like all below; few have more than one
	hosts  map[peer.ID]*list.List // of *record, the oldest first; those of others
	crowd  *crowd.Crowd[*record]  // those of others
	made   uint64                 // how many there ever were
}

type record struct {
	key    ds.Key
	value  []byte
	host   peer.ID
	addr   netip.Addr
	place  *crowd.Place[*record] // nil for our own
	ofHost *list.Element
	number uint64 // newer records have higher numbers
}

func newRecords(limit, topicLimit, hostLimit int, self peer.ID, where func(peer.ID) netip.Addr) *records {
	return &records{
		topicLimit: topicLimit, hostLimit: hostLimit, self: self, where: where,
		topics: make(map[ds.Key][]*record), hosts: make(map[peer.ID]*list.List), crowd: crowd.New[*record](limit, -1),
	}
}

// hostOf returns the host at the end of a key. A name that is not a valid id counts as a host too.
func hostOf(key ds.Key) peer.ID {
	name := key.BaseNamespace()
	if id, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(name); err == nil {
		return peer.ID(id)
	}
	return peer.ID(name)
}

// Put stores or renews a record.
func (r *records) Put(_ context.Context, key ds.Key, value []byte) error {
	host := hostOf(key)
	addr := netip.IPv4Unspecified()
	if host != r.self {
		addr = r.where(host)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	topic := key.Parent()
	if old := r.findLocked(key); old != nil {
		r.removeLocked(old)
	}
	r.made++
	rec := &record{key: key, value: value, host: host, addr: addr, number: r.made}
	r.topics[topic] = append(r.topics[topic], rec)
	if host == r.self {
		return nil
	}
	if r.hosts[host] == nil {
		r.hosts[host] = list.New()
	}
	rec.ofHost = r.hosts[host].PushBack(rec)
	place, out := r.crowd.Enter(addr, rec)
	rec.place = place
	if out != nil {
		r.removeLocked(out.Who)
	}
	if l := r.hosts[host]; l.Len() > r.hostLimit {
		r.removeLocked(l.Front().Value.(*record))
	}
	if len(r.topics[topic]) > r.topicLimit {
		r.removeLocked(busiest(r.topics[topic])) // there is one, because we announce each topic only once
	}
	return nil
}

// busiest returns the record of others that has to go: the oldest of the busiest address in the
// busiest network.
func busiest(all []*record) *record {
	var left []*record
	for _, rec := range all {
		if rec.place != nil {
			left = append(left, rec)
		}
	}
	for narrower := range 3 { // IPv6 addresses are in three groups
		counts := make(map[netip.Prefix]int)
		var most netip.Prefix
		group := func(rec *record) netip.Prefix {
			groups := crowd.Groups(rec.addr) // the widest last
			return groups[max(len(groups)-1-narrower, 0)]
		}
		for _, rec := range left {
			g := group(rec)
			if counts[g]++; counts[g] > counts[most] {
				most = g
			}
		}
		left = slices.DeleteFunc(left, func(rec *record) bool { return group(rec) != most })
	}
	return slices.MinFunc(left, func(a, b *record) int { return cmp.Compare(a.number, b.number) })
}

// findLocked returns the record with a key, or nil.
func (r *records) findLocked(key ds.Key) *record {
	for _, rec := range r.topics[key.Parent()] {
		if rec.key == key {
			return rec
		}
	}
	return nil
}

func (r *records) removeLocked(rec *record) {
	topic := rec.key.Parent()
	r.topics[topic] = slices.DeleteFunc(r.topics[topic], func(o *record) bool { return o == rec })
	if len(r.topics[topic]) == 0 {
		delete(r.topics, topic)
	}
	if rec.ofHost == nil { // our own
		return
	}
	l := r.hosts[rec.host]
	l.Remove(rec.ofHost)
	if l.Len() == 0 {
		delete(r.hosts, rec.host)
	}
	r.crowd.Leave(rec.place)
}

// Delete removes a record, if it is there.
func (r *records) Delete(_ context.Context, key ds.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec := r.findLocked(key); rec != nil {
		r.removeLocked(rec)
	}
	return nil
}

// Get returns a record's value.
func (r *records) Get(_ context.Context, key ds.Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec := r.findLocked(key); rec != nil {
		return rec.value, nil
	}
	return nil, ds.ErrNotFound
}

// Has reports whether a record is there.
func (r *records) Has(ctx context.Context, key ds.Key) (bool, error) {
	return ds.GetBackedHas(ctx, r, key)
}

// GetSize returns the size of a record's value.
func (r *records) GetSize(ctx context.Context, key ds.Key) (int, error) {
	return ds.GetBackedSize(ctx, r, key)
}

// Query returns the records of the topic whose key is the prefix, or all records if the prefix is
// that of all topics.
func (r *records) Query(_ context.Context, q dsq.Query) (dsq.Results, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var entries []dsq.Entry
	add := func(topic []*record) {
		for _, rec := range topic {
			entries = append(entries, dsq.Entry{Key: rec.key.String(), Value: rec.value, Size: len(rec.value)})
		}
	}
	if prefix := ds.NewKey(q.Prefix); len(prefix.Namespaces()) > 1 {
		add(r.topics[prefix])
	} else {
		for _, topic := range r.topics {
			add(topic)
		}
	}
	return dsq.NaiveQueryApply(q, dsq.ResultsWithEntries(q, entries)), nil
}

// Batch collects changes. That saves nothing, because the records are in memory.
func (r *records) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(r), nil }

// Sync does nothing.
func (r *records) Sync(context.Context, ds.Key) error { return nil }

// Close does nothing.
func (r *records) Close() error { return nil }

// noCache is a cache of what is in memory anyway. The DHT's own would hold what records has no
// room for, without a limit.
type noCache struct{}

// The methods are those of the interface of golang-lru, which the DHT asks for.
func (noCache) Add(_, _ any) bool                { return false }
func (noCache) Get(any) (any, bool)              { return nil, false }
func (noCache) Contains(any) bool                { return false }
func (noCache) Peek(any) (any, bool)             { return nil, false }
func (noCache) Remove(any) bool                  { return false }
func (noCache) RemoveOldest() (_, _ any, _ bool) { return nil, nil, false }
func (noCache) GetOldest() (_, _ any, _ bool)    { return nil, nil, false }
func (noCache) Keys() []any                      { return nil }
func (noCache) Len() int                         { return 0 }
func (noCache) Purge()                           {}
func (noCache) Resize(int) int                   { return 0 }

// maxAnnouncers is how many addresses announcers remembers.
const maxAnnouncers = 1 << 14

// announcers remembers from which addresses hosts opened streams of the DHT last: a record is
// stored a while after it came, when the host may be gone. Any number of goroutines may use it.
type announcers struct {
	mu    sync.Mutex
	addrs map[peer.ID]*list.Element // guarded by mu
	age   *list.List                // guarded by mu; of announcer, the least recent first
}

type announcer struct {
	id   peer.ID
	addr netip.Addr
}

func newAnnouncers() *announcers {
	return &announcers{addrs: make(map[peer.ID]*list.Element), age: list.New()}
}

// saw notes that id is at addr. The one that was seen least recently makes room.
func (a *announcers) saw(id peer.ID, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.addrs[id]; e != nil {
		e.Value = announcer{id, addr}
		a.age.MoveToBack(e)
		return
	}
	if a.age.Len() >= maxAnnouncers {
		delete(a.addrs, a.age.Remove(a.age.Front()).(announcer).id)
	}
	a.addrs[id] = a.age.PushBack(announcer{id, addr})
}

// where returns the address of id, or 0.0.0.0 if it is not known.
func (a *announcers) where(id peer.ID) netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.addrs[id]; e != nil {
		return e.Value.(announcer).addr
	}
	return netip.IPv4Unspecified()
}
