package dat

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeWay is a way whose test says what it finds.
type fakeWay struct {
	word string

	mu      sync.Mutex
	changed chan struct{}             // guarded by mu; closed when follows changes
	follows map[trailKey]*fakeFollow  // guarded by mu
	log     []string                  // guarded by mu; what was followed and withdrawn
	linger  func(ctx context.Context) // what follow does before it returns; may be nil
}

type fakeFollow struct {
	presence *discovery.Presence
	found    func(address)
	report   func(error)
}

func newFakeWay(word string) *fakeWay {
	return &fakeWay{word: word, changed: make(chan struct{}), follows: make(map[trailKey]*fakeFollow)}
}

func (w *fakeWay) name() string { return w.word }
func (w *fakeWay) close()       {}

func (w *fakeWay) follow(ctx context.Context, i id, presence *discovery.Presence, port uint16, found func(address), report func(error)) {
	key := trailKey{i, port}
	w.set(key, &fakeFollow{presence, found, report}, "follow")
	<-ctx.Done()
	if w.linger != nil {
		w.linger(ctx)
	}
	w.set(key, nil, "withdraw")
}

func (w *fakeWay) set(key trailKey, f *fakeFollow, word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log = append(w.log, fmt.Sprint(word, " ", key.port)); f == nil {
		delete(w.follows, key)
	} else if w.follows[key] != nil {
		w.log = append(w.log, "twice")
	} else {
		w.follows[key] = f
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// said returns what was followed and withdrawn.
func (w *fakeWay) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.log, ", ")
}

// await returns the follow of an id for which fits returns true.
func (w *fakeWay) await(t *testing.T, fits func(trailKey, discovery.State) bool) (trailKey, *fakeFollow) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		changed := w.changed
		wake := []<-chan struct{}{changed}
		for key, f := range w.follows {
			state, next := f.presence.State()
			if fits(key, state) {
				w.mu.Unlock()
				return key, f
			}
			wake = append(wake, next)
		}
		w.mu.Unlock()
		either := make(chan struct{})
		once := sync.OnceFunc(func() { close(either) })
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, c := range wake {
			wg.Go(func() {
				select {
				case <-c:
					once()
				case <-stop:
				}
			})
		}
		select {
		case <-either:
			close(stop)
			wg.Wait()
		case <-late:
			close(stop)
			wg.Wait()
			t.Fatalf("%s is not followed as wanted: %s", w.word, w.said())
		}
	}
}

// lookUp fits a trail that looks up.
func lookUp(_ trailKey, s discovery.State) bool { return s.LookUp }

// newTestHost returns a host with ways, that may dial loopback addresses.
func newTestHost(t *testing.T, cfg Config, ways ...*fakeWay) *Host {
	t.Helper()
	if cfg.Policy == nil {
		cfg.Policy = newPolicy(t, discovery.PolicyConfig{Private: true})
	}
	var all []way
	for _, w := range ways {
		all = append(all, w)
	}
	h := newHost(cfg, all, nil)
	t.Cleanup(func() { h.Close() })
	return h
}

func newPolicy(t testing.TB, cfg discovery.PolicyConfig) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// joined is a Join that a test reads.
type joined struct {
	t        *testing.T
	presence *discovery.Presence
	items    chan discovery.Update
	leave    func() // and wait until Join has returned
}

// joinAs joins with the endpoints, which announce and look up.
func joinAs(t *testing.T, n discovery.Network, topic wtproto.Topic, endpoints ...wtproto.EndpointID) *joined {
	t.Helper()
	return joinWith(t, n, topic, discovery.State{Announce: true, LookUp: true, Endpoints: endpoints})
}

func joinWith(t *testing.T, n discovery.Network, topic wtproto.Topic, state discovery.State) *joined {
	t.Helper()
	j := &joined{t: t, presence: discovery.NewPresence(state), items: make(chan discovery.Update, 4096)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s, err := range n.Join(ctx, topic, j.presence) {
			j.items <- discovery.Update{Sighting: s, Err: err}
		}
	}()
	j.leave = func() {
		cancel()
		<-done
	}
	t.Cleanup(j.leave)
	return j
}

// await returns the next item for which fits returns true.
func (j *joined) await(what string, fits func(discovery.Update) bool) discovery.Update {
	j.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case x := <-j.items:
			if fits(x) {
				return x
			}
		case <-late:
			j.t.Fatalf("no %s", what)
		}
	}
}

// peerAt awaits the peer at a.
func (j *joined) peerAt(a string) discovery.Sighting {
	j.t.Helper()
	return j.await("peer at "+a, func(x discovery.Update) bool { return x.Sighting.Holds > 0 && x.Sighting.Peer.Address == "tcp://"+a }).Sighting
}

// drain returns what there is.
func (j *joined) drain() (all []discovery.Update) {
	for {
		select {
		case x := <-j.items:
			all = append(all, x)
		default:
			return all
		}
	}
}

func endpoint(n byte) wtproto.EndpointID { return wtproto.EndpointID{n} }

func public(a string) address {
	return address{at: netip.MustParseAddrPort(a), source: discovery.SourcePublic}
}

func addressesOf(all []discovery.Update) (list []string) {
	for _, x := range all {
		if x.Sighting.Holds > 0 {
			list = append(list, x.Sighting.Peer.Address)
		}
	}
	slices.Sort(list)
	return list
}
