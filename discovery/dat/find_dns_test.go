package dat

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/node"
	"github.com/swarmgate/swarmgate/wtproto"
)

// testPolicy returns a policy that allows loopback.
func testPolicy(t *testing.T) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testID(name string) id { return idOf(wtproto.TopicFromName(name)) }

// following is a follow of a test.
type following struct {
	end      func() // ends it and waits for it
	presence *discovery.Presence
	found    chan address
	seen     map[string]address // what await has taken from found
	reports  chan error
	worked   bool // await has taken a report that it works
}

// followOn starts a follow, which ends with the test at the latest.
func followOn(t *testing.T, w way, i id, state discovery.State, port uint16) *following {
	t.Helper()
	f := &following{presence: discovery.NewPresence(state), found: make(chan address, 1<<16), seen: make(map[string]address), reports: make(chan error, 1<<10)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		w.follow(ctx, i, f.presence, port, func(a address) { f.found <- a }, func(err error) {
			select {
			case f.reports <- err:
			default:
			}
		})
	})
	f.end = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(f.end)
	return f
}

// await waits until at has been found.
func (f *following) await(t *testing.T, at string) address {
	t.Helper()
	late := time.After(time.Minute)
	for {
		if a, ok := f.seen[at]; ok {
			return a
		}
		select {
		case a := <-f.found:
			f.seen[a.at.String()] = a
		case err := <-f.reports:
			f.worked = err == nil
			t.Logf("report: %v", err)
		case <-late:
			t.Fatalf("%s was not found", at)
		}
	}
}

// works waits until the follow reports that it works.
func (f *following) works(t *testing.T) {
	t.Helper()
	late := time.After(time.Minute)
	for !f.worked {
		select {
		case err := <-f.reports:
			if err == nil {
				return
			}
			t.Logf("report: %v", err)
		case <-late:
			t.Fatal("it does not work")
		}
	}
}

// fails waits until the follow reports an error, and returns it.
func (f *following) fails(t *testing.T) error {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case err := <-f.reports:
			if err != nil {
				return err
			}
		case <-late:
			t.Fatal("no error is reported")
		}
	}
}

var (
	both         = discovery.State{Announce: true, LookUp: true}
	announceOnly = discovery.State{Announce: true}
	lookUpOnly   = discovery.State{LookUp: true}
)

// script runs test/dat/find.mjs and waits until it is ready.
func script(t *testing.T, role string, options map[string]any) (*node.Script, int) {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	s := node.Start(t, "find.mjs", role, string(text))
	var ready struct{ Port int }
	s.Await("ready", &ready)
	return s, ready.Port
}

// dnsServerScript runs a server of dns-discovery and returns its address.
func dnsServerScript(t *testing.T) (s *node.Script, server string) {
	t.Helper()
	port := freeport.Ports(t, 1)
	s, _ = script(t, "dns", map[string]any{"listen": port, "domain": datDomain, "multicast": false, "ttl": 60})
	return s, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// dnsClientScript runs a peer of dns-discovery that asks server.
func dnsClientScript(t *testing.T, server string) *node.Script {
	t.Helper()
	s, _ := script(t, "dns", map[string]any{"server": []string{server}, "domain": datDomain, "multicast": false})
	return s
}

func newTestDNS(t *testing.T, servers ...string) *dnsWay {
	t.Helper()
	w, err := newDNS(dnsConfig{Servers: servers, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Policy: testPolicy(t), Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// at is what npm peers say of a peer.
type at struct{ ID, At string }

// awaitPeer waits until the script has found a peer of the id at addr.
func awaitPeer(t *testing.T, s *node.Script, i id, addr string) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; {
		var p at
		s.Await("peer", &p)
		if p == (at{i.String(), addr}) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("the peer has not found %s", addr)
		}
	}
}

// serverList is what a server knows and has been told.
type serverList struct {
	All []struct {
		ID string
		At []string
	}
	Heard []string // in the order in which it came, without tokens
}

func listOf(server *node.Script) (l serverList) {
	server.Do(map[string]any{"do": "list"})
	server.Await("list", &l)
	return l
}

// held returns the addresses that a server knows of an id.
func held(server *node.Script, i id) []string {
	for _, e := range listOf(server).All {
		if e.ID == i.String() {
			return e.At
		}
	}
	return nil
}

// A real server, a real peer, both ways; each hears of the other at once, because who subscribes is
// told (push).
func TestDNSWithRealServer(t *testing.T) {
	server, addr := dnsServerScript(t)
	peer := dnsClientScript(t, addr)
	w := newTestDNS(t, addr)
	i := testID("dns")

	f := followOn(t, w, i, both, 4001)
	f.works(t)
	peer.Do(map[string]any{"do": "announce", "id": i.String(), "port": 4002})
	if a := f.await(t, "127.0.0.1:4002"); a.source != discovery.SourcePublic || a.through != "" { // by push
		t.Errorf("found as %+v", a)
	}
	awaitPeer(t, peer, i, "127.0.0.1:4001") // by its question

	late := followOn(t, newTestDNS(t, addr), i, lookUpOnly, 0)
	late.await(t, "127.0.0.1:4002") // by ours
	late.await(t, "127.0.0.1:4001")
	for len(f.found) > 0 {
		a := <-f.found
		f.seen[a.at.String()] = a
	}
	if _, self := f.seen["127.0.0.1:4001"]; self {
		t.Error("it has found itself")
	}
	if h := held(server, i); len(h) != 2 {
		t.Errorf("the server knows %v, want both", h)
	}
}

// Who left was announced for a minute more, and was dialed in vain.
func TestDNSLeaveWithdraws(t *testing.T) {
	server, addr := dnsServerScript(t)
	w := newTestDNS(t, addr)
	i := testID("leave")
	w.refresh = 20 * time.Millisecond // many questions, which must stop
	f := followOn(t, w, i, both, 4003)
	f.works(t)
	if h := held(server, i); len(h) != 1 || h[0] != "127.0.0.1:4003" {
		t.Fatalf("the server knows %v, want 127.0.0.1:4003", h)
	}
	began := time.Now()
	f.end()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it ended after %v", took)
	}
	if h := held(server, i); len(h) != 0 {
		t.Errorf("the server still knows %v", h)
	}
	heard := listOf(server).Heard
	if n := len(heard); n < 2 || heard[n-1] != "unannounce=4003" || heard[n-2] != "subscribe=true announce=4003" {
		t.Errorf("the server has heard %q, want the announcement until it was withdrawn", heard)
	}
}

// A follow ends in time although no server answers any more, and nothing is asked after that.
func TestDNSLeaveOfDeadServer(t *testing.T) {
	t.Parallel()
	server := newFakeServer(t, nil)
	w := newTestDNS(t, server.addr())
	f := followOn(t, w, testID("silent"), both, 4010)
	f.works(t)
	server.silent.Store(true)
	began := time.Now()
	f.end()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to end", took)
	}
	w.close()
	asked := server.asked.Load() // nobody is left who could ask
	if followOn(t, w, testID("silent"), both, 4010).end(); server.asked.Load() != asked {
		t.Error("a way that is closed asks")
	}
}

// A presence that announces no more withdraws, goes on to look up, and announces again.
func TestDNSPresenceChanges(t *testing.T) {
	server, addr := dnsServerScript(t)
	peer := dnsClientScript(t, addr)
	w := newTestDNS(t, addr)
	i := testID("changes")
	f := followOn(t, w, i, both, 4004)
	f.works(t)
	awaitHeld := func(want int) {
		t.Helper()
		for late := time.Now().Add(30 * time.Second); ; {
			if h := held(server, i); len(h) == want {
				return
			} else if time.Now().After(late) {
				t.Fatalf("the server knows %v, want %d", h, want)
			}
		}
	}
	awaitHeld(1)
	f.presence.Set(lookUpOnly)
	awaitHeld(0)
	peer.Do(map[string]any{"do": "announce", "id": i.String(), "port": 4005})
	f.await(t, "127.0.0.1:4005")
	f.presence.Set(discovery.State{})
	peer.Do(map[string]any{"do": "unannounce", "id": i.String(), "port": 4005})
	awaitHeld(0)
	f.presence.Set(announceOnly)
	awaitHeld(1)
}

// A server whose secrets have changed, as after its restart, drops what comes with an old token.
func TestDNSTokenIsRenewed(t *testing.T) {
	server, addr := dnsServerScript(t)
	w := newTestDNS(t, addr)
	first, second := testID("first"), testID("second")
	followOn(t, w, first, both, 4006).works(t)
	server.Do(map[string]any{"do": "rotate"})
	server.Await("rotated", nil)
	followOn(t, w, second, both, 4007).works(t)
	if h := held(server, second); len(h) != 1 {
		t.Errorf("the server knows %v, want 127.0.0.1:4007", h)
	}
}

// One dead server does not delay the other, and a dead one that comes back is asked again.
func TestDNSDeadServer(t *testing.T) {
	t.Parallel()
	_, addr := dnsServerScript(t)
	dead := freeport.Address(t)
	f := followOn(t, newTestDNS(t, dead, addr), testID("dead"), both, 4008)
	f.works(t)
	alone := followOn(t, newTestDNS(t, dead), testID("dead"), both, 4009)
	if err := alone.fails(t); !strings.Contains(err.Error(), dead) {
		t.Errorf("the error is %v, want one that names %s", err, dead)
	}
	alone.end()
}
