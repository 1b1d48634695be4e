package p2p

import (
	"context"
	"iter"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

const (
	maxProviders = 256              // that one look-up may bring
	roundTimeout = 30 * time.Second // of a look-up
	provideLimit = time.Minute      // of an announcement
	maxProvides  = 16               // announcements at once
	maxLookUps   = 64               // look-ups at once
)

// recordKey is what a topic is stored under: the digest itself as a SHA-256 multihash, not hashed
// again.
func recordKey(digest [32]byte) cid.Cid {
	mh, err := multihash.Encode(digest[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // the code and the length are those of SHA-256
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// provide announces that we are on the topic with digest: to those who ask us, and, unless we know
// nobody, to others.
func (t *table) provide(ctx context.Context, digest [32]byte) error {
	select {
	case t.provides <- struct{}{}:
		defer func() { <-t.provides }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, provideLimit)
	defer cancel()
	err := t.dht.Provide(limited, recordKey(digest), !t.empty())
	if ctx.Err() == nil {
		t.observer.NoteAnnouncement(networkDHT, began, err)
	}
	return err
}

// find yields the hosts that have announced the topic with digest, as they are found, until the
// look-up is complete or takes too long.
func (t *table) find(ctx context.Context, digest [32]byte) iter.Seq[target] {
	return func(yield func(target) bool) {
		select {
		case t.lookUps <- struct{}{}:
			defer func() { <-t.lookUps }()
		case <-ctx.Done():
			return
		}
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
		for range found { // until the queries are gone, which end with ctx
		}
	}
}
