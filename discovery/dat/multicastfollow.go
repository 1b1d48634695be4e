package dat

import (
	"context"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
)

// Times of one follow of the multicast form.
const (
	answerGap = 250 * time.Millisecond // between answers about one id
	askGap    = 5 * time.Second        // between questions about one id that somebody else's caused
)

// repeatAfter are the waits after the first times, because packets get lost. Then the waits are
// those of dns-discovery.
var repeatAfter = []time.Duration{time.Second, 3 * time.Second}

// multicastFollow is one call of follow.
type multicastFollow struct {
	way      *multicast
	id       id
	presence *discovery.Presence
	port     uint16
	finder   *finder
	wake     chan struct{} // holds 1: there is something new

	mu     sync.Mutex
	asked  map[int]string // guarded by mu; the interfaces on which the id was asked for, and its domain
	others bool           // guarded by mu; somebody else asks: a peer may be new
	anew   bool           // guarded by mu; the LAN is another one
}

// askedFor notes that somebody asks for the id.
func (f *multicastFollow) askedFor(index int, domain string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[index], f.others = domain, true
	f.wakeUp()
}

// again has the follow begin anew.
func (f *multicastFollow) again() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.anew = true
	f.wakeUp()
}

func (f *multicastFollow) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow is described at [way].
func (w *multicast) follow(ctx context.Context, i id, presence *discovery.Presence, port uint16, found func(address), report func(error)) {
	ctx, leave, ok := w.follows.enter(ctx)
	if !ok {
		return
	}
	defer leave()
	f := &multicastFollow{
		way: w, id: i, presence: presence, port: port, finder: newFinder(found),
		wake: make(chan struct{}, 1), asked: make(map[int]string),
	}
	w.mu.Lock()
	w.following.add(i, f)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.following.remove(i, f)
	}()
	for round := 0; ctx.Err() == nil; round++ {
		state, _ := presence.State()
		now := wishOf(state, port)
		wait := time.Duration(-1)
		if now != (wish{}) {
			report(f.say(now))
			wait = jitter(refreshEvery, refreshEvery/refreshJitter)
			if round < len(repeatAfter) {
				wait = repeatAfter[round]
			}
		}
		if f.await(ctx, now, wait) {
			round = -1
		}
	}
}

// say asks for the id, and tells of us those who have asked for it before.
func (f *multicastFollow) say(now wish) error {
	var err error
	if now.lookUp {
		b, failed := question(0, []string{nameOf(f.id, datDomain), nameOf(f.id, plainDomain)}, "token="+f.way.token)
		if failed == nil {
			failed = f.way.send(b, nil)
		}
		err = failed
	}
	if now.announce {
		if failed := f.answer(datDomain, nil); err == nil {
			err = failed
		}
	}
	return err
}

// answer says that we are a peer of the id, on some interfaces or, if on is nil, on all.
func (f *multicastFollow) answer(domain string, on map[int]string) error {
	b, err := answer([]string{nameOf(f.id, domain)}, "token="+f.way.token, "peers="+writePeers(ourselves(f.port)))
	if err != nil {
		return err
	}
	return f.way.send(b, on)
}

// await answers those who ask, for wait, or for ever if that is negative. It returns earlier if the
// wish is another one, or the LAN; then anew is true. It returns earlier too if somebody else asks,
// who may be new.
func (f *multicastFollow) await(ctx context.Context, now wish, wait time.Duration) (anew bool) {
	began := time.Now()
	var over <-chan time.Time
	if wait >= 0 {
		over = time.After(wait)
	}
	var gap <-chan time.Time // no answers before
	wake := f.wake
	for {
		state, changed := f.presence.State()
		if wishOf(state, f.port) != now {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return false
		case <-changed:
			continue
		case <-gap:
			gap, wake = nil, f.wake
			continue
		case <-wake:
		}
		f.mu.Lock()
		asked, others, anew := f.asked, f.others, f.anew
		f.asked, f.others, f.anew = make(map[int]string), false, false
		f.mu.Unlock()
		if anew {
			return true
		}
		if now.announce {
			for _, domain := range []string{datDomain, plainDomain} {
				on := make(map[int]string)
				for index, d := range asked {
					if d == domain {
						on[index] = d
					}
				}
				if len(on) > 0 {
					if err := f.answer(domain, on); err != nil {
						f.way.cfg.Logger.Debug("answer not sent on the LAN", "error", err)
					}
				}
			}
		}
		if others && now.lookUp {
			if left := askGap - time.Since(began); left < wait {
				over = time.After(max(left, answerGap))
			}
		}
		gap, wake = time.After(answerGap), nil
	}
}
