package p2p

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// fakeWalker is a DHT whose walks take a certain time, and find nobody.
type fakeWalker struct {
	took   time.Duration // of walks of both kinds
	shared int           // what closest says
	peers  []peer.ID

	mu       sync.Mutex
	lookUps  map[[32]byte][]time.Time // when they began
	provided map[[32]byte][]time.Time // announced, alone or with others
	walks    int                      // to announce
	atOnce   [numWalks]int
	most     [numWalks]int // at once
	fails    bool          // announcements
	noOthers bool
	sweeps   []int // how many were announced at once
}

func newFakeWalker(took time.Duration) *fakeWalker {
	return &fakeWalker{
		took: took, shared: publicShared, peers: []peer.ID{"peer"},
		lookUps: make(map[[32]byte][]time.Time), provided: make(map[[32]byte][]time.Time),
	}
}

func (w *fakeWalker) empty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.noOthers
}

// walk takes the time of a walk, and calls begin at its start.
func (w *fakeWalker) walk(ctx context.Context, c chore, begin func()) error {
	w.mu.Lock()
	begin()
	w.atOnce[c]++
	w.most[c] = max(w.most[c], w.atOnce[c])
	w.mu.Unlock()
	select {
	case <-time.After(w.took):
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.atOnce[c]--
	return ctx.Err()
}

func (w *fakeWalker) find(ctx context.Context, digest [32]byte) iter.Seq[target] {
	return func(yield func(target) bool) {
		if w.walk(ctx, chLookUp, func() { w.lookUps[digest] = append(w.lookUps[digest], time.Now()) }) == nil {
			yield(target{id: "found"})
		}
	}
}

func (w *fakeWalker) provide(ctx context.Context, digest [32]byte) error {
	err := w.walk(ctx, chAnnounce, func() {
		w.walks++
		w.provided[digest] = append(w.provided[digest], time.Now())
	})
	if w.fails {
		err = errors.New("nobody took it")
	}
	return err
}

func (w *fakeWalker) closest(ctx context.Context, _ [32]byte) ([]peer.ID, int, error) {
	if w.empty() {
		return nil, 0, nil
	}
	return w.peers, w.shared, w.walk(ctx, chAnnounce, func() { w.walks++ })
}

func (w *fakeWalker) put(_ context.Context, peers []peer.ID, digests [][32]byte) []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := make([]error, len(digests))
	w.sweeps = append(w.sweeps, len(digests))
	for i, d := range digests {
		w.provided[d] = append(w.provided[d], time.Now())
		if w.fails {
			errs[i] = errors.New("nobody took it")
		}
	}
	return errs
}

// times returns when a topic was looked up and announced, since a time.
func (w *fakeWalker) times(digest [32]byte, since time.Time) (lookUps, announcements []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.lookUps[digest] {
		lookUps = append(lookUps, at.Sub(since))
	}
	for _, at := range w.provided[digest] {
		announcements = append(announcements, at.Sub(since))
	}
	return lookUps, announcements
}

// reset forgets what was counted.
func (w *fakeWalker) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.lookUps)
	clear(w.provided)
	w.walks, w.sweeps = 0, nil
}

// count returns how many look-ups began and how many topics were announced.
func (w *fakeWalker) count() (lookUps, announcements, walks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.lookUps {
		lookUps += len(at)
	}
	for _, at := range w.provided {
		announcements += len(at)
	}
	return lookUps, announcements, w.walks
}
