package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// manual is a topic whose loop is the test itself, with sessions that do not run.
type manual struct {
	*topic
	server *Server
	n      int
}

func newManual(tb testing.TB, cfg Config) *manual {
	cfg.TLS, cfg.Memory = &tls.Config{}, 1<<40
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	m := &manual{topic: newTopic(s.router, wowcool), server: s}
	m.running.Store(true)
	m.networks = []*networkView{{gatewayNetwork: &gatewayNetwork{name: "lan", names: []string{"lan"}}, presence: discovery.NewPresence(discovery.State{})}}
	tb.Cleanup(func() {
		close(m.gone)
		s.Close()
		s.router.close()
	})
	return m
}

// add subscribes one more session.
func (m *manual) add(join wtproto.Join) *subscription {
	m.n++
	return m.addAs(wtproto.EndpointID{byte(m.n), byte(m.n >> 8), byte(m.n >> 16)}, join)
}

// addAs subscribes one more session of an endpoint.
func (m *manual) addAs(endpoint wtproto.EndpointID, join wtproto.Join) *subscription {
	ses := newSession(m.server, newFakeLink(), func() {})
	ses.endpoint = endpoint
	ses.principal = ses.cfg.principal(&ses.grant, ses.link.remoteAddr())
	s := newSubscription(ses)
	s.topic = m.topic
	m.handle(subscribed{s, join})
	return s
}

// until deals with events until done.
func (m *manual) until(done func() bool) {
	for !done() {
		m.handle(<-m.inbox)
	}
}

// shortPeer answers each dial, and the other ends of its circuits come from ends.
func shortPeer(i int, ends chan<- *fakeStream) discovery.Sighting {
	return discovery.Sighting{
		Peer: discovery.Peer{Network: "lan", ID: fmt.Sprint(i)}, Holds: -1,
		Dial: func(context.Context, wtproto.EndpointID) (discovery.Stream, error) {
			near, far := newStream()
			ends <- far
			return fakePeerStream{near}, nil
		},
	}
}

// shortCircuits returns what makes one circuit, with a peer that leaves and comes back, and ends
// it. All other n-1 peers have had their circuit.
func shortCircuits(tb testing.TB, n int) (m *manual, step func()) {
	m = newManual(tb, Config{DefaultPeers: -1, MaxCircuits: -1, MaxPeers: -1})
	s := m.add(wtproto.Join{Topic: wowcool, Flags: wtproto.JoinLookUp})
	link := s.session.link.(*fakeLink)
	ends := make(chan *fakeStream, 1)
	m.asked = true
	peers := make([]discovery.Sighting, n)
	see := func(i int) {
		m.handle(sighted{m.networks[0], peers[i], nil})
		m.until(func() bool { return m.circuits == 1 })
		<-ends
		reset(<-link.toClient, wtproto.CodeApplication) // an end by the peer at once would count as a failure
		m.until(func() bool { return m.circuits == 0 && m.dials == 0 })
	}
	for i := range peers {
		peers[i] = shortPeer(i, ends)
		see(i)
	}
	i := 0
	return m, func() {
		gone := peers[i%n]
		gone.Gone = true
		m.handle(sighted{m.networks[0], gone, nil})
		see(i % n)
		i++
	}
}

// lookers returns n subscribers that have room and cannot match, with a peer that refuses.
func lookers(tb testing.TB, n int, cfg Config, flags wtproto.JoinFlags) *manual {
	m := newManual(tb, cfg)
	for range n {
		m.add(wtproto.Join{Topic: wowcool, Flags: flags})
	}
	return m
}

// An event costs what it changes. Each end of a circuit looked at all other candidates, and each
// second, if anything was due, every subscriber looked at every other one.
func TestWork(t *testing.T) {
	const clients, peers = 2000, 1000
	t.Run("short circuits", func(t *testing.T) {
		m, step := shortCircuits(t, peers)
		m.looks = 0
		for range 100 {
			step()
		}
		if m.looks > 100*10 {
			t.Errorf("%d candidates were looked at for 100 circuits, want 10 each at most", m.looks)
		}
	})
	for name, m := range map[string]*manual{
		"all look up": lookers(t, clients, Config{}, wtproto.JoinLookUp),
		"isolated":    lookers(t, clients, Config{IsolateClients: true}, announceAndLookUp),
	} {
		t.Run(name, func(t *testing.T) {
			if m.looks > clients {
				t.Errorf("%d candidates were looked at by %d joins", m.looks, clients)
			}
			m.looks = 0
			for i := range 100 {
				s := m.subs[i]
				m.block(s)
				m.unblocked(s)
				m.wake()
			}
			if m.looks > 100 {
				t.Errorf("%d candidates were looked at for 100 clients that got a place, want one each at most", m.looks)
			}
		})
	}
	// A mesh of clients that are full.
	t.Run("full", func(t *testing.T) {
		m := newManual(t, Config{DefaultPeers: 8})
		for range 300 {
			m.add(wtproto.Join{Topic: wowcool, Flags: announceAndLookUp})
		}
		if m.looks > 300*100 {
			t.Errorf("%d candidates were looked at by 300 joins with 8 places each, want 100 each at most", m.looks)
		}
		for _, s := range m.subs {
			s.session.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the test is over"))
		}
		for _, s := range m.subs {
			s.session.abortAll()
		}
		m.until(func() bool { return m.circuits == 0 })
	})
}

func BenchmarkShortCircuit(b *testing.B) {
	for _, n := range []int{280, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, step := shortCircuits(b, n)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// BenchmarkWake is one client of many that gets a place, when none of the others matches.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := lookers(b, n, Config{}, wtproto.JoinLookUp)
			b.ReportAllocs()
			for b.Loop() {
				m.block(m.subs[0])
				m.unblocked(m.subs[0])
				m.wake()
				m.publish()
			}
		})
	}
}
