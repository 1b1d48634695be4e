package dat

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
)

// Times of all ways.
const (
	withdrawWithin = 900 * time.Millisecond // after the end of a follow
	failedWait     = 2 * time.Second        // at least, after the first failure in a row
	failedMost     = time.Minute            // at most, after many
)

// follows are the calls of follow of one way, which end with it.
type follows struct {
	life context.Context // ends with close
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool           // guarded by mu
	all    sync.WaitGroup // grows while mu is held and closed is false
}

func newFollows() *follows {
	f := &follows{}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// enter begins a call of follow: its context ends with ctx and with the way. The caller must call
// leave at the end. After close enter returns false.
func (f *follows) enter(ctx context.Context) (inner context.Context, leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, false
	}
	f.all.Add(1)
	inner, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.life, cancel)
	return inner, func() {
		stop()
		cancel()
		f.all.Done()
	}, true
}

// byID holds what follows each id. The owner guards it by a mutex.
type byID[F comparable] map[id][]F

func (b byID[F]) add(i id, f F) { b[i] = append(b[i], f) }

func (b byID[F]) remove(i id, f F) {
	b[i] = slices.DeleteFunc(b[i], func(o F) bool { return o == f })
	if len(b[i]) == 0 {
		delete(b, i)
	}
}

// close ends all calls and waits for them. It may be called more than once.
func (f *follows) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
	f.all.Wait()
}

// How many peers one follow reports: so many at once, and so many each second. Strangers can make
// up any number. The rest is left out, at random, so that real ones among them come through after a
// while.
const (
	findsAtOnce    = 256
	findsPerSecond = 4
)

// finder reports what a follow finds. Any number of goroutines may use it.
type finder struct {
	found     func(address)
	allowance *rate.Limiter
}

func newFinder(found func(address)) *finder {
	return &finder{found: found, allowance: rate.NewLimiter(findsPerSecond, findsAtOnce)}
}

// report reports peers that one answer told of, each once. It shuffles the slice.
func (f *finder) report(peers []netip.AddrPort, source discovery.Source, through string) {
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	seen := make(map[netip.AddrPort]bool, len(peers))
	for _, p := range peers {
		p = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		if p.Port() == 0 || !p.Addr().IsValid() || seen[p] {
			continue
		}
		seen[p] = true
		if !f.allowance.Allow() {
			return
		}
		f.found(address{at: p, source: source, through: through})
	}
}

// wish is what a follow wants at one moment.
type wish struct{ announce, lookUp bool }

func wishOf(s discovery.State, port uint16) wish {
	return wish{announce: s.Announce && port != 0, lookUp: s.LookUp}
}

// awaitOther waits until presence has another wish than w or for wait, and reports whether ctx goes
// on. A negative wait is for ever.
func awaitOther(ctx context.Context, presence *discovery.Presence, port uint16, w wish, wait time.Duration) bool {
	var over <-chan time.Time
	if wait >= 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	for {
		state, changed := presence.State()
		if wishOf(state, port) != w {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return true
		case <-changed:
		}
	}
}

// newBackoff returns how long a way waits after failures in a row.
func newBackoff() backoff.Backoff { return backoff.New(failedWait, failedMost) }

// jitter returns at least d, and less than d and more.
func jitter(d, more time.Duration) time.Duration { return d + rand.N(max(more, 1)) }
