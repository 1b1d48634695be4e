package dat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
)

// fakeNode is a dhtNode that walks as long as it is told to.
type fakeNode struct {
	takes time.Duration
	knows bool
	peers []netip.AddrPort

	mu            sync.Mutex
	running, most int     // guarded by mu; walks
	walked        []id    // guarded by mu; in their order
	ports         []int   // guarded by mu; what they announced
	errs          []error // guarded by mu; of the next walks
	when          []time.Time
}

func (n *fakeNode) walk(ctx context.Context, i id, port uint16, found func([]netip.AddrPort)) (err error) {
	n.mu.Lock()
	n.running++
	n.most = max(n.most, n.running)
	n.walked, n.ports, n.when = append(n.walked, i), append(n.ports, int(port)), append(n.when, time.Now())
	if len(n.errs) > 0 {
		err, n.errs = n.errs[0], n.errs[1:]
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.running--
	}()
	found(slices.Clone(n.peers))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(n.takes):
		return err
	}
}

func (n *fakeNode) tend(ctx context.Context, known func(bool)) {
	known(n.knows)
	<-ctx.Done()
}

func (n *fakeNode) close() {}

// A thousand topics were a thousand walks at once. There are few at once, and payers take turns.
func TestMainlineWalksTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{takes: time.Second, knows: true}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		many := lookUpOnly
		many.For = []discovery.Payer{{"many"}}
		for n := range 1000 {
			followOn(t, w, testID(fmt.Sprint(n)), many, 0)
		}
		synctest.Wait()
		one := lookUpOnly
		one.For = []discovery.Payer{{"one"}}
		f := followOn(t, w, testID("one"), one, 0)
		began := time.Now()
		if err := <-f.reports; err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("the walk of another payer was over after %v, %v", time.Since(began), err)
		}
		synctest.Wait()
		if node.most > maxWalks {
			t.Errorf("%d walks at once, want %d at most", node.most, maxWalks)
		}
	})
}

// An old peer walks again after 10 to 15 min. Our first walks follow sooner, and one that failed is
// tried again soon.
func TestMainlineSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{knows: true, errs: []error{errNoNode, nil}}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		f := followOn(t, w, testID("schedule"), both, 4020)
		time.Sleep(3 * time.Hour)
		f.end()
		gaps := make([]time.Duration, 0, len(node.when))
		for i := 1; i < len(node.when); i++ {
			gaps = append(gaps, node.when[i].Sub(node.when[i-1]))
		}
		least := []time.Duration{failedWait, walkAgain << 1, walkAgain << 2, walkAgain << 3, walkAgain << 4, walkEvery}
		for i, gap := range gaps {
			from := least[min(i, len(least)-1)]
			most := from + from/2
			if i == 0 {
				most = 2 * from // after a failure
			}
			if gap < from || gap > most {
				t.Errorf("walk %d came %v after the one before, want %v to %v", i+1, gap, from, most)
			}
		}
		if len(gaps) < 12 {
			t.Errorf("%d walks in 3 h", len(gaps))
		}
	})
}

// What a walk announces follows the presence; nothing is announced without a port.
func TestMainlineAnnouncesWhatIsWanted(t *testing.T) {
	for _, tc := range []struct {
		state discovery.State
		port  uint16
		want  int
		finds bool
	}{{both, 7, 7, true}, {announceOnly, 7, 7, false}, {lookUpOnly, 7, 0, true}, {both, 0, 0, true}} {
		synctest.Test(t, func(t *testing.T) {
			node := &fakeNode{knows: true, peers: addrPorts("192.0.2.1:1", "192.0.2.2:0")}
			w := newMainlineWith(mainlineConfig{}, node)
			defer w.close()
			f := followOn(t, w, testID("x"), tc.state, tc.port)
			synctest.Wait()
			if len(node.ports) != 1 || node.ports[0] != tc.want || len(f.found) != map[bool]int{true: 1}[tc.finds] {
				t.Errorf("%+v with port %d: announced %v and found %d", tc.state, tc.port, node.ports, len(f.found))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{knows: true}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		f := followOn(t, w, testID("x"), discovery.State{}, 7)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(node.ports) != 0 {
			t.Error("it walks for nobody")
		}
		f.presence.Set(announceOnly)
		synctest.Wait()
		if len(node.ports) != 1 || node.ports[0] != 7 {
			t.Errorf("announced %v, want at once", node.ports)
		}
	})
}

// A node without others reports so, and walks at once when it knows some.
func TestMainlineKnowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		f := followOn(t, w, testID("alone"), both, 4021)
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := <-f.reports; !errors.Is(err, errNobody) || len(node.walked) != 0 {
			t.Errorf("reported %v, walked %d times", err, len(node.walked))
		}
		w.setKnown(true)
		synctest.Wait()
		if err := <-f.reports; err != nil || len(node.walked) != 1 {
			t.Errorf("reported %v, walked %d times", err, len(node.walked))
		}
	})
}

// A topic that is left ends its walk, and the one that waits for its turn.
func TestMainlineLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{takes: time.Hour, knows: true}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		var all []*following
		for n := range 2 * maxWalks {
			all = append(all, followOn(t, w, testID(fmt.Sprint(n)), both, 1))
		}
		synctest.Wait()
		began := time.Now()
		for _, f := range all {
			f.end()
		}
		took := time.Since(began)
		synctest.Wait()
		if took > time.Second || node.running != 0 {
			t.Errorf("it took %v to end, and %d walks run", took, node.running)
		}
		synctest.Wait()
		if node.running != 0 || w.walks.running != 0 || w.walks.queue.Len() != 0 {
			t.Errorf("%d walks run, %d turns are taken, %d wait", node.running, w.walks.running, w.walks.queue.Len())
		}
	})
}

// A node of a stranger tells of any number of peers. Of one answer 100 count, of one topic some
// hundred, and none has port 0.
func TestMainlineForgedPeersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{knows: true}
		for n := range 1000 {
			node.peers = append(node.peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), uint16(n%4)))
		}
		w := newMainlineWith(mainlineConfig{}, node)
		defer w.close()
		var all []*following
		for range 10 { // ten members of one topic
			all = append(all, followOn(t, w, testID("forged"), lookUpOnly, 0))
		}
		synctest.Wait()
		for _, f := range all {
			if n := len(f.found); n == 0 || n > maxPeers {
				t.Errorf("%d peers of one answer, want %d at most", n, maxPeers)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := newFinder(func(a address) {
			if n++; a.at.Port() == 0 || a.at.Addr().Is4In6() {
				t.Errorf("found %s", a.at)
			}
		})
		for i := range 100 { // a hundred nodes answer
			var peers []netip.AddrPort
			for j := range 100 {
				peers = append(peers, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("::ffff:10.0.%d.%d", i, j)), uint16(j)))
			}
			f.report(append(peers, peers...), discovery.SourcePublic, "")
		}
		if n != findsAtOnce {
			t.Errorf("%d were reported at once, want %d", n, findsAtOnce)
		}
		time.Sleep(10 * time.Second)
		before := n
		f.report(addrPorts("192.0.2.1:1", "192.0.2.1:1"), discovery.SourcePublic, "")
		if n != before+1 {
			t.Errorf("%d were reported later, want one", n-before)
		}
	})
}

func TestPeerStore(t *testing.T) {
	now := time.Now()
	at := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1)
	}
	s := newPeerStore()
	for _, p := range addrPorts("192.0.2.1:0", "192.0.2.1:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1") {
		s.add(id{1}, p, now)
	}
	s.add(id{1}, netip.AddrPort{}, now)
	if got := s.get(id{1}, now); len(got) != 1 || got[0] != addrPorts("192.0.2.1:1")[0] {
		t.Errorf("%v, want one peer", got)
	}
	for port := range uint16(1000) { // one machine
		s.add(id{2}, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), port), now)
	}
	if n := len(s.ids[id{2}]); n != maxStoredOfIP {
		t.Errorf("%d peers of an address, want %d", n, maxStoredOfIP)
	}
	for n := range 1000 {
		s.add(id{3}, at(n), now)
	}
	if n := len(s.ids[id{3}]); n != maxStoredOfID {
		t.Errorf("%d peers of an id, want %d", n, maxStoredOfID)
	}
	if n := len(s.get(id{3}, now)); n != maxStoredReply {
		t.Errorf("%d peers in an answer, want %d", n, maxStoredReply)
	}
	for n := range 2 * maxStored { // many ids
		s.add(id{4, byte(n >> 16), byte(n >> 8), byte(n)}, at(n), now)
	}
	if s.age.Len() != maxStored || len(s.get(id{1}, now)) != 0 {
		t.Errorf("%d peers are kept, want %d, and not the oldest", s.age.Len(), maxStored)
	}
	if s.get(id{4, 0, 0, 0}, now.Add(storedFor)); s.age.Len() != 0 || len(s.ids) != 0 {
		t.Errorf("%d peers of %d ids have not expired", s.age.Len(), len(s.ids))
	}
}

// newTestMainline returns a way whose node begins with these.
func newTestMainline(t *testing.T, bootstrap ...string) (w *mainline, addr string) {
	t.Helper()
	return newMainlineAt(t, "127.0.0.1:0", ownPorts{}, bootstrap...)
}

// newMainlineAt is newTestMainline at an address, for a host with these ports.
func newMainlineAt(t *testing.T, listen string, own ownPorts, bootstrap ...string) (w *mainline, addr string) {
	t.Helper()
	w, err := newMainline(mainlineConfig{
		Listen: netip.MustParseAddrPort(listen), Own: own, Bootstrap: append([]string{}, bootstrap...), Policy: testPolicy(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, w.node.(*libraryNode).conn.LocalAddr().String()
}

// Two of ours and the node that they begin with, which keeps what they announce.
func TestMainlineAmongOurselves(t *testing.T) {
	_, first := newTestMainline(t)
	a, _ := newTestMainline(t, first)
	b, _ := newTestMainline(t, first)
	i := testID("ours")
	followOn(t, a, i, announceOnly, 4022).works(t)
	f := followOn(t, b, i, both, 4023)
	if got := f.await(t, "127.0.0.1:4022"); got.source != discovery.SourcePublic {
		t.Errorf("found as %+v", got)
	}
	f.works(t)
}

// Behind a NAT our own announcements came back to us as peers, which were dialed.
func TestMainlineIsNoPeerOfItself(t *testing.T) {
	var first []string
	for n := range leastVoices + 1 {
		_, addr := newMainlineAt(t, fmt.Sprintf("127.0.%d.1:0", n+1), ownPorts{}, first...)
		first = append(first, addr)
	}
	a, _ := newMainlineAt(t, "127.0.0.1:0", ownPorts{topics: PortRange{4021, 4022}}, first...)
	b, _ := newMainlineAt(t, "127.0.9.1:0", ownPorts{}, first...)
	i := testID("itself")
	followOn(t, a, i, announceOnly, 4022).works(t)
	followOn(t, a, i, announceOnly, 4023).works(t) // not one of its ports
	followOn(t, b, i, announceOnly, 4022).works(t)
	f := followOn(t, a, i, lookUpOnly, 0)
	f.await(t, "127.0.9.1:4022")
	f.await(t, "127.0.0.1:4023")
	f.works(t)
	f.end()
	for len(f.found) > 0 {
		a := <-f.found
		f.seen[a.at.String()] = a
	}
	if _, ok := f.seen["127.0.0.1:4022"]; ok {
		t.Error("the gateway is a peer of itself")
	}
}

// One packet of a stranger was enough to end the process: the library panics at an address of one
// byte, and at a question without arguments. What others make it remember is dropped too.
func TestHostilePackets(t *testing.T) {
	const who = "1:ad2:id20:aaaaaaaaaaaaaaaaaaaae"
	bad := map[string]string{
		"an address of one byte":      "d2:ip1:x1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re",
		"a peer of one byte":          "d1:rd2:id20:aaaaaaaaaaaaaaaaaaaa6:valuesl1:xee1:t1:a1:y1:re",
		"announce without arguments":  "d1:q13:announce_peer1:t1:a1:y1:qe",
		"put":                         "d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa5:token1:x1:v1:xe1:q3:put1:t1:a1:y1:qe",
		"put without arguments":       "d1:q3:put1:t1:a1:y1:qe",
		"an unknown question":         "d" + who + "1:q9:anything!1:t1:a1:y1:qe",
		"an answer without an answer": "d1:t1:a1:y1:re",
		"an error without an error":   "d1:t1:a1:y1:ee",
		"neither":                     "d" + who + "1:t1:a1:y1:xe",
		"no dictionary":               "le",
		"half":                        "d1:ad2:id20:aaaa",
		"nothing":                     "",
		"deep":                        strings.Repeat("l", 2000),
		"with more behind":            "d" + who + "1:q4:ping1:t1:a1:y1:qexxx",
	}
	_, addr := newTestMainline(t)
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, b := range bad {
		if _, ok := readPacket([]byte(b)); ok {
			t.Errorf("%s is valid", name)
		}
		if _, err := c.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 2048)
	for late := time.Now().Add(time.Minute); time.Now().Before(late); { // a ping may get lost
		if _, err := c.Write([]byte("d" + who + "1:q4:ping1:t1:z1:y1:qe")); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for { // the node asks whoever has asked it, too
			n, err := c.Read(got)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatalf("%v instead of the answer to the ping", err)
			}
			if strings.Contains(string(got[:n]), "1:t1:z") {
				return
			}
		}
	}
	t.Error("no answer to a ping")
}

// A node of a stranger tells of a thousand nodes at addresses that it chose. None is asked that the
// policy forbids, and none more often than the ledger allows.
func TestMainlineAsksWhomItMay(t *testing.T) {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	first := addrPorts("127.0.0.1:1")[0]
	c := newGuardedConn(udp, policy, readPacket, func(a netip.AddrPort) bool { return a == first })
	question := []byte("d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t1:a1:y1:qe")
	send := func(b []byte, to string) error {
		_, err := c.WriteTo(b, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		return err
	}
	for to, ok := range map[string]bool{
		"127.0.0.1:1": true, "127.0.0.1:2": false, "169.254.169.254:80": false, "10.0.0.1:1": false, "127.0.0.2:9": true, "[::1]:1": false,
		"0.0.0.0:1": false, "224.0.0.1:1": false, "255.255.255.255:1": false,
	} {
		if err := send(question, to); (err == nil) != ok {
			t.Errorf("to %s: %v, want sent %v", to, err, ok)
		}
	}
	sent := 0
	for range 5000 {
		if send(question, "127.0.0.2:9") == nil {
			sent++
		}
	}
	if sent == 0 || sent > 1000 {
		t.Errorf("%d questions to one that never answers", sent)
	}
	if send([]byte("d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re"), "127.0.0.2:9") != nil {
		t.Error("an answer to it is not sent")
	}
	at := addrPorts("127.0.0.2:9")[0]
	for _, number := range []string{"b", ""} { // anybody can send in its name
		if c.answered(at, number) || send(question, at.String()) == nil {
			t.Errorf("an answer to a question with the number %q, which was not asked, counts", number)
		}
	}
	if !c.answered(at, "a") || c.answered(at, "a") {
		t.Error("an answer does not count, or twice")
	}
	if err := send(question, at.String()); err != nil {
		t.Errorf("one that has answered is not asked: %v", err)
	}
	if err := send(question, at.String()); err == nil {
		t.Error("one answer counted for many questions")
	}
	for n := range 2 * maxAsked { // what is remembered is bounded
		c.mu.Lock()
		c.asked[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1)] = &askedNode{}
		if len(c.asked) >= maxAsked {
			c.sweepLocked(time.Now())
		}
		if len(c.asked) > maxAsked {
			t.Fatalf("%d are remembered", len(c.asked))
		}
		c.mu.Unlock()
	}
}

func TestMainlineConfigMistakes(t *testing.T) {
	for _, name := range []string{"example.org", ":1", "example.org:0", "example.org:x"} {
		w, err := newMainline(mainlineConfig{Bootstrap: []string{name}, Policy: testPolicy(t)})
		if err == nil {
			w.close()
			t.Errorf("%q: no error", name)
		}
	}
}

// Whatever strangers send, the process goes on.
func FuzzNode(f *testing.F) {
	for _, s := range []string{
		"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t1:a1:y1:qe",
		"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa6:target20:bbbbbbbbbbbbbbbbbbbbe1:q9:find_node1:t1:a1:y1:qe",
		"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hash20:bbbbbbbbbbbbbbbbbbbb4:wantl2:n42:n6ee1:q9:get_peers1:t1:a1:y1:qe",
		"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa12:implied_porti1e9:info_hash20:bbbbbbbbbbbbbbbbbbbb4:porti9e5:token1:xe1:q13:announce_peer1:t1:a1:y1:qe",
		"d2:ip6:abcdef1:rd2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes26:aaaaaaaaaaaaaaaaaaaabbbbcc5:token1:x6:valuesl6:abcdefee1:t1:a1:y1:re",
		"d1:eli201e5:wronge1:t1:a1:y1:ee",
	} {
		f.Add([]byte(s))
	}
	w, err := newMainline(mainlineConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Bootstrap: []string{}, Policy: newPolicy(f, discovery.PolicyConfig{Private: true})})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(w.close)
	node := w.node.(*libraryNode)
	node.conn.intake.SetLimit(rate.Inf)
	c, err := net.Dial("udp", node.conn.LocalAddr().String())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := readPacket(b); ok && len(b) <= maxPacket {
			_, _ = c.Write(b)
		}
	})
}
