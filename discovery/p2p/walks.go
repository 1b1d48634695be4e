package p2p

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

const (
	maxProviders = 256              // hosts that one look-up may yield
	roundTimeout = 30 * time.Second // of a look-up
	provideLimit = time.Minute      // of an announcement
	putTimeout   = 10 * time.Second // of one record to one host
	// putFailures is how many records in a row a host may fail to take before it gets no more.
	putFailures = 2
)

// recordKey returns the key of a topic's record: the digest itself as a SHA-256 multihash, not
// hashed again.
func recordKey(digest [32]byte) cid.Cid {
	mh, err := multihash.Encode(digest[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // impossible: the code and the length are those of SHA-256
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// provide announces that we are on the topic with digest: in our own records, and to the closest
// hosts if we know any.
func (t *table) provide(ctx context.Context, digest [32]byte) error {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, provideLimit)
	defer cancel()
	err := t.dht.Provide(limited, recordKey(digest), !t.empty())
	if ctx.Err() == nil {
		t.observer.NoteAnnouncement(networkDHT, began, err)
	}
	return err
}

// closest returns the hosts that keep the record of the topic with digest, or none if we know no
// host. They keep the records of all topics that share so many bits of the key.
func (t *table) closest(ctx context.Context, digest [32]byte) (peers []peer.ID, shared int, err error) {
	if t.empty() {
		return nil, 0, nil
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, provideLimit)
	defer cancel()
	key := string(recordKey(digest).Hash())
	peers, err = t.dht.GetClosestPeers(limited, key)
	if err != nil {
		if ctx.Err() == nil {
			t.observer.NoteAnnouncement(networkDHT, began, err)
		}
		return nil, 0, err
	}
	ids := make([]kb.ID, len(peers))
	for i, p := range peers {
		ids[i] = kb.ConvertPeerID(p)
	}
	if !t.private && len(ids) < t.dht.BucketSize() { // some others did not answer
		return peers, 8*len(key) + 1, nil
	}
	return peers, sharedBits(kb.ConvertKey(key), ids, t.dht.BucketSize()), nil
}

var errNobodyTook = errors.New("p2p: no host of the DHT took the announcement")

// put announces topics in our own records and to peers. Each peer gets one record after the other.
// If there are peers, put returns an error for each topic that no peer took.
func (t *table) put(ctx context.Context, peers []peer.ID, digests [][32]byte) []error {
	began := time.Now()
	self := peer.AddrInfo{ID: t.dht.PeerID(), Addrs: t.dht.FilteredAddrs()}
	if len(self.Addrs) == 0 { // nobody could reach us
		peers = nil
	}
	errs := make([]error, len(digests))
	keys := make([]multihash.Multihash, len(digests))
	for i, d := range digests {
		keys[i] = recordKey(d).Hash()
		errs[i] = t.dht.ProviderStore().AddProvider(ctx, keys[i], peer.AddrInfo{ID: self.ID})
	}
	if len(peers) > 0 {
		taken := t.putAll(ctx, peers, keys, self)
		for i := range errs {
			if !taken[i] {
				errs[i] = errors.Join(errs[i], errNobodyTook)
			}
		}
	}
	if ctx.Err() == nil {
		for _, err := range errs {
			t.observer.NoteAnnouncement(networkDHT, began, err)
		}
	}
	return errs
}

// putAll sends the records of keys to each of peers, and returns which records at least one peer
// took. Each peer has provideLimit for all its records.
func (t *table) putAll(ctx context.Context, peers []peer.ID, keys []multihash.Multihash, self peer.AddrInfo) []bool {
	ctx, cancel := context.WithTimeout(ctx, provideLimit)
	defer cancel()
	taken := make([]bool, len(keys))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			sent := t.putTo(ctx, p, keys, self)
			mu.Lock()
			defer mu.Unlock()
			for i, ok := range sent {
				taken[i] = taken[i] || ok
			}
		})
	}
	wg.Wait()
	return taken
}

// putTo sends the records of keys to p, and returns which of them it took.
func (t *table) putTo(ctx context.Context, p peer.ID, keys []multihash.Multihash, self peer.AddrInfo) []bool {
	sent := make([]bool, len(keys))
	failures := 0
	for i, k := range keys {
		limited, cancel := context.WithTimeout(ctx, putTimeout)
		err := t.messenger.PutProviderAddrs(limited, p, k, self)
		cancel()
		if sent[i] = err == nil; sent[i] {
			failures = 0
		} else if failures++; failures == putFailures || ctx.Err() != nil {
			break
		}
	}
	return sent
}

// find yields the hosts that have announced the topic with digest, as they are found, until the
// look-up is complete or takes too long.
func (t *table) find(ctx context.Context, digest [32]byte) iter.Seq[target] {
	return func(yield func(target) bool) {
		began, n := time.Now(), 0
		limited, cancel := context.WithTimeout(ctx, roundTimeout)
		defer cancel()
		found := t.dht.FindProvidersAsync(limited, recordKey(digest), maxProviders)
		for info := range found {
			n++
			if !yield(target{id: info.ID, addrs: info.Addrs, network: networkDHT}) {
				break
			}
		}
		if ctx.Err() == nil {
			t.observer.NoteLookUp(networkDHT, n, began, limited.Err())
		}
		cancel()
		for range found { // until the queries have ended, with ctx
		}
	}
}
