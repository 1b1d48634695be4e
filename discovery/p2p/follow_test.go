package p2p

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// followed is a topic that is followed, and what was yielded.
type followed struct {
	leave func()
	items chan item
	ended chan struct{} // closed by ended; a second call panics
}

// follow follows a topic.
func follow(h *Host, topic wtproto.Topic, p *discovery.Presence) *followed {
	f := &followed{items: make(chan item, maxNews), ended: make(chan struct{})}
	f.leave = h.Follow(topic, p, func(s discovery.Sighting, err error) {
		f.items <- item{s, err}
	}, func() { close(f.ended) })
	return f
}

// await waits until something is yielded that passes.
func (f *followed) await(t *testing.T, what string, pass func(item) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case i := <-f.items:
			if pass(i) {
				return
			}
		case <-late:
			t.Fatalf("no %s", what)
		}
	}
}

// over waits for the end.
func (f *followed) over(t *testing.T) {
	t.Helper()
	select {
	case <-f.ended:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

// Who follows a topic learns what Join yields, changes of the presence reach others, and the next
// one can follow it as soon as the one before has left.
func TestFollow(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	nm := join(t, n, discovery.Native(), nil)
	p := presence(true, true, endpoints(1)...)
	for range 3 {
		f := follow(g, testTopic, p)
		f.await(t, "native peer", isPeer(n, nativeEndpoint))
		p.Set(discovery.State{Announce: true, LookUp: true, Endpoints: endpoints(2)})
		nm.await("another client", isPeer(g, endpoint(2)))
		p.Set(discovery.State{Announce: true, LookUp: true, Endpoints: endpoints(1)})
		nm.await("its end", isGone(g, endpoint(2)))
		f.leave()
		f.leave()
		next := follow(g, testTopic, p)
		next.await(t, "native peer again", isPeer(n, nativeEndpoint))
		f.over(t)
		next.leave()
		next.over(t)
	}
}

// A host that is closed ends what is followed, and says so to who comes later.
func TestFollowClosedHost(t *testing.T) {
	h := swarmOf(t, native, gateway)[1]
	p := presence(true, true, endpoint(1))
	f := follow(h, testTopic, p)
	f.await(t, "word that the DHT works", func(i item) bool { return i.err == nil })
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	f.over(t)
	f.leave()
	late := follow(h, testTopic, p)
	late.await(t, "error", func(i item) bool { return i.err != nil && codeOf(i.err) == wtproto.CodeShutdown })
	late.over(t)
}

// Topics on which nothing happens have no goroutine. They had five each once, and then two, which
// were most of their memory.
func TestTopicsAtRestHaveNoGoroutine(t *testing.T) {
	const topics = 200
	h := swarmOf(t, native, all(gateway, func(c *Config) {
		c.LookUpMin, c.LookUpEvery, c.LookUpRest = time.Hour, time.Hour, time.Hour
	}))[1]
	before := runtime.NumGoroutine()
	var all []*followed
	for i := range topics {
		all = append(all, follow(h, wtproto.Topic{byte(i), 1}, presence(true, true, endpoint(i))))
	}
	for _, f := range all {
		f.await(t, "word that the DHT works", func(i item) bool { return i.err == nil })
	}
	for late := time.Now().Add(patience); runtime.NumGoroutine() > before+topics/2; runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("%d goroutines with %d topics, %d without", runtime.NumGoroutine(), topics, before)
		}
	}
	for _, f := range all {
		f.leave()
	}
	for _, f := range all {
		f.over(t)
	}
}

// A spurt runs after each wake, and never twice at once.
func TestSpurt(t *testing.T) {
	var s spurt
	var g taskGroup
	var mu sync.Mutex
	asked, done := 0, 0 // guarded by mu
	running := false    // by the spurt alone, which the race detector checks
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				mu.Lock()
				asked++
				mu.Unlock()
				s.wake(&g, func() {
					if running {
						t.Error("it runs twice at once")
					}
					running = true
					mu.Lock()
					done = asked
					mu.Unlock()
					running = false
				})
			}
		})
	}
	wg.Wait()
	g.close()
	if done != asked {
		t.Errorf("it has not run since the last wake: %d of %d", done, asked)
	}
	s.wake(&g, func() { t.Error("it runs after the end") })
}
