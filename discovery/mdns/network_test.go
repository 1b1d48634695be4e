package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func testPolicy(t *testing.T) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var topicA, topicB = wtproto.TopicFromName("a"), wtproto.TopicFromName("b")

// answer is what a scripted LAN says, after a second of a browse.
func answer(s *service, instance, value string, addrs ...string) record {
	return record{of: s, instance: instance, value: value, port: 80, addrs: addrsOf(addrs...)}
}

func service4(instance string, topic wtproto.Topic, addrs ...string) record {
	return answer(topicService, instance, topic.String(), addrs...)
}

// scripted returns a network whose k-th browse (from 0, of the topics' service) gets the answers and the error of script(k).
func scripted(t *testing.T, cfg Config, script func(k int) ([]record, error)) *Network {
	t.Helper()
	if cfg.Policy == nil {
		cfg.Policy = testPolicy(t)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.register = func(*Self, []discovery.Interface) (func(), error) { return func() {}, nil }
	n.lan = func() ([]discovery.Interface, error) {
		i := discovery.Interface{}
		i.Name = "eth0"
		return []discovery.Interface{i}, nil
	}
	var mu sync.Mutex
	next := make(map[*service]int)
	n.browse = func(ctx context.Context, s *service, _ []discovery.Interface, found chan<- record) error {
		mu.Lock()
		k := next[s]
		next[s]++
		mu.Unlock()
		answers, err := script(k)
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
		for _, r := range answers {
			if r.of == s {
				found <- r
			}
		}
		<-ctx.Done()
		return nil
	}
	return n
}

// start runs n until the test or the returned function ends it.
func start(t *testing.T, n *Network) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- n.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// events joins topic for d and returns what it yielded, one line each.
func events(t *testing.T, n *Network, topic wtproto.Topic, d time.Duration) []string {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var out []string
	ids := make(map[string]string)
	for s, err := range n.Join(ctx, topic, discovery.Native()) {
		what := "works"
		switch {
		case err != nil:
			what = err.Error()
		case s.Gone:
			what = "gone " + s.Peer.Address
			if s.Dial != nil || s.Holds != 0 {
				t.Errorf("gone with a dial or a hold: %+v", s)
			}
		case s.Peer.ID != "":
			what = fmt.Sprintf("%s for %v", s.Peer.Address, s.Holds)
			if s.Dial == nil || s.Peer.Network != "lan" || len(s.Peer.ID) != 16 {
				t.Errorf("sighting %+v", s)
			}
		}
		if known, ok := ids[s.Peer.Address]; ok && known != s.Peer.ID {
			t.Errorf("%s has two ids", s.Peer.Address)
		}
		ids[s.Peer.Address] = s.Peer.ID
		out = append(out, fmt.Sprintf("%v %s", time.Since(begin), what))
	}
	return out
}

func wantEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events:\n %q\nwant\n %q", got, want)
	}
}

// A service is told of when it is seen, again in each cycle, and is gone a while after it was seen last. A second join is
// told at once, and other topics are not told.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := scripted(t, Config{}, func(k int) ([]record, error) {
			switch {
			case k < 2:
				return []record{service4("web", topicA, "10.0.0.1"), service4("other", topicB, "10.0.0.2")}, nil
			default:
				return []record{service4("other", topicB, "10.0.0.2")}, nil
			}
		})
		start(t, n)
		late := make(chan []string)
		go func() {
			time.Sleep(30 * time.Second)
			late <- events(t, n, topicA, time.Minute)
		}()
		wantEvents(t, events(t, n, topicA, 3*time.Minute),
			"1s tcp://10.0.0.1:80 for 1m30s", "4s works", "26s tcp://10.0.0.1:80 for 1m30s", "1m56s gone tcp://10.0.0.1:80")
		wantEvents(t, <-late, "0s works", "0s tcp://10.0.0.1:80 for 1m26s")
		if n.mu.Lock(); len(n.peers.all) != 1 {
			t.Errorf("%d services are remembered, want the one that is there", len(n.peers.all))
		}
		n.mu.Unlock()
		if len(n.joins) != 0 {
			t.Errorf("%d topics are still joined", len(n.joins))
		}
	})
}

// What later answers add is told: addresses, another topic, another port.
func TestJoinMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moved := service4("web", topicA, "10.0.0.1")
		moved.port = 81
		n := scripted(t, Config{}, func(k int) ([]record, error) {
			switch k {
			case 0:
				return []record{service4("web", topicA, "fd00::1")}, nil
			case 1:
				return []record{service4("web", topicA, "10.0.0.1")}, nil
			case 2:
				return []record{moved}, nil
			default:
				return []record{service4("web", topicB, "10.0.0.1")}, nil
			}
		})
		start(t, n)
		other := make(chan []string)
		go func() { other <- events(t, n, topicB, 80*time.Second) }()
		wantEvents(t, events(t, n, topicA, 80*time.Second),
			"1s tcp://[fd00::1]:80 for 1m30s", "4s works", "26s tcp://10.0.0.1:80 for 1m30s",
			"51s tcp://10.0.0.1:81 for 1m30s", "1m16s gone tcp://10.0.0.1:81")
		wantEvents(t, <-other, "4s works", "1m16s tcp://10.0.0.1:80 for 1m30s")
	})
}

// A browse that fails is news once, is tried again with a growing delay, and what was seen stays for its time.
func TestJoinHearsOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		failure := errors.New("no socket")
		n := scripted(t, Config{}, func(k int) ([]record, error) {
			at = append(at, time.Since(begin))
			if k > 0 && k < 7 || k == 8 {
				return nil, failure
			}
			return []record{service4("web", topicA, "10.0.0.1")}, nil
		})
		start(t, n)
		got := events(t, n, topicA, 3*time.Minute)
		n.Close() // nobody browses any more
		if want := []string{"1s tcp://10.0.0.1:80 for 1m30s", "4s works", "25s no socket"}; len(got) < 4 || !slices.Equal(got[:3], want) {
			t.Errorf("events %q, want %q first", got, want)
		}
		again := slices.IndexFunc(got[3:], func(s string) bool { return s[len(s)-5:] == "works" })
		if again < 0 || slices.Contains(got[3:3+again], "no socket") {
			t.Errorf("events %q, want one error and one recovery", got)
		}
		if len(at) < 10 {
			t.Fatalf("%d browses", len(at))
		}
		if delay := at[9] - at[8]; delay > 2*time.Second {
			t.Errorf("delay after a later failure = %v, want a first one again", delay)
		}
		for k := 2; k < 8; k++ { // the delays double, with a random part, up to a cycle
			delay, low := at[k]-at[k-1], min(time.Second<<(k-2), 25*time.Second/2)
			if delay < low || delay > min(2*low, 25*time.Second) {
				t.Errorf("delay %d = %v, want %v to twice that", k, delay, low)
			}
		}
	})
}

func TestNoInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := scripted(t, Config{Interfaces: []string{"eth7"}}, func(int) ([]record, error) {
			t.Error("browsed on no interface, which is browsing on all of them")
			return nil, nil
		})
		start(t, n)
		wantEvents(t, events(t, n, topicA, time.Second), "0s INTERNAL: no network interface is on the LAN")

		failing := scripted(t, Config{}, nil)
		failing.lan = func() ([]discovery.Interface, error) { return nil, errors.New("cannot read") }
		start(t, failing)
		wantEvents(t, events(t, failing, topicA, time.Second), "0s INTERNAL: no network interfaces: cannot read")
	})
}

// Addresses that the policy refuses are not dialed, and the dial says why.
func TestRefusedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := scripted(t, Config{}, func(int) ([]record, error) {
			return []record{service4("web", topicA, "8.8.8.8", "169.254.169.254")}, nil
		})
		start(t, n)
		for s, err := range n.Join(t.Context(), topicA, discovery.Native()) {
			if err != nil || s.Dial == nil || s.Peer.Address != "" {
				t.Fatalf("Join yields %+v, %v", s, err)
			}
			_, err := s.Dial(t.Context(), wtproto.EndpointID{})
			if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeForbidden {
				t.Errorf("Dial = %v, want %v", err, wtproto.CodeForbidden)
			}
			break
		}
	})
}

// seenHosts notes what a Hosts is told.
type seenHosts struct{ calls []string }

func (h *seenHosts) HostSeen(id string, addrs []netip.AddrPort) {
	h.calls = append(h.calls, fmt.Sprint(id, " ", addrs))
}

func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts seenHosts
		own := &Self{ID: "me", Port: 4001}
		n := scripted(t, Config{Hosts: &hosts, Self: own}, func(k int) ([]record, error) {
			list := []record{
				answer(hostService, own.instance(), "me", "10.0.0.9"), // ourselves
				answer(hostService, "copy", "me", "10.0.0.8"),         // somebody who says so
				answer(hostService, "far", "you2", "8.8.8.8"),         // nowhere to dial
			}
			if k == 0 {
				return append(list, answer(hostService, "x", "you", "fd00::1")), nil
			}
			return append(list, answer(hostService, "x", "you", "10.0.0.1")), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		want := []string{"you [[fd00::1]:80]", "you [10.0.0.1:80 [fd00::1]:80]"}
		if !slices.Equal(hosts.calls, want) {
			t.Errorf("HostSeen: %q, want %q", hosts.calls, want)
		}
		n.Close()
	})
}

// Our own host is published anew where the interfaces are others, and tried again where that failed.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		begin := time.Now()
		note := func(format string, args ...any) {
			log = append(log, fmt.Sprintf("%v ", time.Since(begin))+fmt.Sprintf(format, args...))
		}
		n := scripted(t, Config{Self: &Self{ID: "me", Port: 4001}}, func(k int) ([]record, error) { return nil, nil })
		n.lan = func() ([]discovery.Interface, error) {
			list := make([]discovery.Interface, 1)
			list[0].Index = 1 + int(time.Since(begin)/(50*time.Second))
			return list, nil
		}
		failing := true
		n.register = func(self *Self, ifaces []discovery.Interface) (func(), error) {
			if failing = !failing; failing {
				note("failed")
				return nil, errors.New("no socket")
			}
			on := ifaces[0].Index
			note("%s:%d on %d", self.ID, self.Port, on)
			return func() { note("withdrawn on %d", on) }, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 58*time.Second)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		want := []string{"0s me:4001 on 1", "50s withdrawn on 1", "50s failed"}
		if len(log) != 5 || !slices.Equal(log[:3], want) || log[3][len(log[3])-12:] != "me:4001 on 2" || log[4] != "58s withdrawn on 2" {
			t.Errorf("log %q, want %q, then the same on 2", log, want)
		}
		n.Close()
	})
}

// Twenty thousand forged services cost their share of the table, and the real one is still told of.
func TestForgedServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := scripted(t, Config{MaxEntries: 64}, func(k int) ([]record, error) {
			var list []record
			if k > 0 {
				for f := range 20_000 {
					list = append(list, service4(fmt.Sprint("forged", f), topicB, fmt.Sprintf("10.1.%d.%d", f/256, f%256)))
				}
			}
			return append(list, service4("web", topicA, "10.0.0.1")), nil
		})
		start(t, n)
		forged := make(chan []string)
		go func() { forged <- events(t, n, topicB, time.Minute) }()
		wantEvents(t, events(t, n, topicA, time.Minute), "1s tcp://10.0.0.1:80 for 1m30s", "4s works",
			"26s tcp://10.0.0.1:80 for 1m30s", "51s tcp://10.0.0.1:80 for 1m30s")
		if got := <-forged; len(got) > 1+63*2 {
			t.Errorf("%d events for forged services", len(got))
		}
	})
}

// The end of Run, or Close, is the end of all joins, and there is no second Run.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*Network, context.CancelFunc){
			"Run":   func(_ *Network, cancel context.CancelFunc) { cancel() },
			"Close": func(n *Network, _ context.CancelFunc) { n.Close() },
		} {
			n := scripted(t, Config{}, func(int) ([]record, error) { return nil, nil })
			ctx, cancel := context.WithCancel(context.Background())
			run, left := make(chan error, 1), make(chan struct{})
			go func() { run <- n.Run(ctx) }()
			go func() {
				defer close(left)
				for range n.Join(context.Background(), topicA, discovery.Native()) {
				}
			}()
			synctest.Wait()
			if err := n.Run(ctx); !errors.Is(err, errRan) {
				t.Errorf("%s: second Run = %v, want %v", name, err, errRan)
			}
			end(n, cancel)
			if err := <-run; err != nil {
				t.Errorf("%s: Run = %v", name, err)
			}
			<-left
			cancel()
			n.Close()
			if err := n.Run(context.Background()); !errors.Is(err, errRan) {
				t.Errorf("%s: Run after the end = %v, want %v", name, err, errRan)
			}
		}
	})
}

// Each browse is seen from outside, with how many answers came.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		cfg := Config{Observer: &discovery.Observer{LookedUp: func(network string, found int, took time.Duration, err error) {
			seen = append(seen, fmt.Sprint(network, " ", found, " ", took, " ", err))
		}}}
		n := scripted(t, cfg, func(k int) ([]record, error) {
			if k == 1 {
				return nil, errors.New("no route")
			}
			return []record{service4("x", topicA, "192.168.1.2"), service4("y", topicB, "192.168.1.3")}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		<-time.After(defaultCycle + defaultWindow)
		cancel()
		<-done
		n.Close()
		want := []string{"lan 2 4s <nil>", "lan 0 0s no route"}
		if !slices.Equal(seen, want) {
			t.Errorf("told %q, want %q", seen, want)
		}
	})
}
