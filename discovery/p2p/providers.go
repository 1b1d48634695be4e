package p2p

import (
	"container/list"
	"context"
	"sync"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
)

const (
	maxRecords      = 1 << 16 // that a DHT server keeps for others
	maxTopicRecords = 1 << 10 // of them for one topic
)

// records keeps what others announce on a private DHT: in memory, and not more than fits. A topic that is full loses one
// record by chance for each new one, so nobody can push out a certain host; all together lose the oldest. The
// DHT itself drops records that ran out.
type records struct {
	limit, topicLimit int // constant

	mu     sync.Mutex
	topics map[ds.Key]map[ds.Key]*list.Element // guarded by mu; the keys below a topic's key
	age    *list.List                          // guarded by mu; of record, the oldest first
}

type record struct {
	key   ds.Key
	value []byte
}

func newRecords(limit, topicLimit int) *records {
	return &records{limit: limit, topicLimit: topicLimit, topics: make(map[ds.Key]map[ds.Key]*list.Element), age: list.New()}
}

// Put stores or renews a record.
func (r *records) Put(_ context.Context, key ds.Key, value []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	parent := key.Parent()
	if e := r.topics[parent][key]; e != nil {
		e.Value = record{key, value}
		r.age.MoveToBack(e)
		return nil
	}
	if len(r.topics[parent]) >= r.topicLimit {
		for _, e := range r.topics[parent] { // begins anywhere
			r.removeLocked(e)
			break
		}
	}
	if r.age.Len() >= r.limit {
		r.removeLocked(r.age.Front())
	}
	if r.topics[parent] == nil {
		r.topics[parent] = make(map[ds.Key]*list.Element)
	}
	r.topics[parent][key] = r.age.PushBack(record{key, value})
	return nil
}

func (r *records) removeLocked(e *list.Element) {
	key := r.age.Remove(e).(record).key
	parent := key.Parent()
	delete(r.topics[parent], key)
	if len(r.topics[parent]) == 0 {
		delete(r.topics, parent)
	}
}

// Delete removes a record, if it is there.
func (r *records) Delete(_ context.Context, key ds.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.topics[key.Parent()][key]; e != nil {
		r.removeLocked(e)
	}
	return nil
}

// Get returns a record's value.
func (r *records) Get(_ context.Context, key ds.Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.topics[key.Parent()][key]; e != nil {
		return e.Value.(record).value, nil
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

// Query returns the records of the topic whose key is the prefix, or all where the prefix is that of all topics.
func (r *records) Query(_ context.Context, q dsq.Query) (dsq.Results, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var entries []dsq.Entry
	add := func(e *list.Element) {
		rec := e.Value.(record)
		entries = append(entries, dsq.Entry{Key: rec.key.String(), Value: rec.value, Size: len(rec.value)})
	}
	prefix := ds.NewKey(q.Prefix)
	if len(prefix.Namespaces()) > 1 {
		for _, e := range r.topics[prefix] {
			add(e)
		}
	} else {
		for e := r.age.Front(); e != nil; e = e.Next() {
			add(e)
		}
	}
	return dsq.NaiveQueryApply(q, dsq.ResultsWithEntries(q, entries)), nil
}

// Batch collects changes; the records are in memory, so there is nothing to win by it.
func (r *records) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(r), nil }

// Sync does nothing.
func (r *records) Sync(context.Context, ds.Key) error { return nil }

// Close does nothing.
func (r *records) Close() error { return nil }
