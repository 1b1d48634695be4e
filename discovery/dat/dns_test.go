package dat

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fakeServer answers as a server of dns-discovery, or as an attacker.
type fakeServer struct {
	conn   *net.UDPConn
	silent atomic.Bool  // it does not answer
	asked  atomic.Int64 // questions about ids

	// answer changes the answer to a question about an id. Nil means that it stays.
	answer func(q, a *dns.Msg)
	// instead sends something in place of the answer. Nil means that the answer is sent.
	instead func(a *dns.Msg, to *net.UDPAddr)
}

// newFakeServer runs a server after setUp, which may be nil, has changed it.
func newFakeServer(t *testing.T, setUp func(*fakeServer)) *fakeServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{conn: conn}
	if setUp != nil {
		setUp(s)
	}
	var wg sync.WaitGroup
	wg.Go(s.run)
	t.Cleanup(func() {
		conn.Close()
		wg.Wait()
	})
	return s
}

func (s *fakeServer) addr() string { return s.conn.LocalAddr().String() }

func (s *fakeServer) run() {
	b := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFromUDP(b)
		if err != nil {
			return
		}
		var q, a dns.Msg
		if q.Unpack(b[:n]) != nil || q.Response || len(q.Question) != 1 {
			continue
		}
		a.SetReply(&q)
		a.Answer = []dns.RR{record(q.Question[0].Name, []string{"token=t", "host=127.0.0.1"})}
		if q.Question[0].Name != datDomain+"." {
			s.asked.Add(1)
			if s.answer != nil {
				s.answer(&q, &a)
			}
		}
		switch {
		case s.silent.Load():
		case s.instead != nil:
			s.instead(&a, from)
		default:
			s.send(&a, from)
		}
	}
}

func (s *fakeServer) send(m *dns.Msg, to *net.UDPAddr) {
	if b, err := m.Pack(); err == nil {
		_, _ = s.conn.WriteToUDP(b, to)
	}
}

func TestDNSConfigMistakes(t *testing.T) {
	for _, servers := range [][]string{nil, {"example.org"}, {":5300"}, {"example.org:0"}, {"example.org:x"}, {"127.0.0.1:5300", "a:b:c"}} {
		if w, err := newDNS(dnsConfig{Servers: servers, Policy: testPolicy(t)}); err == nil {
			w.close()
			t.Errorf("%q: no error", servers)
		}
	}
}

// Each answer told of any number of peers, which were all dialed. Now one answer tells of at most
// 100, and one id has at most some hundred at once, whatever servers say.
func TestDNSForgedPeersAreBounded(t *testing.T) {
	var serial atomic.Uint32
	server := newFakeServer(t, func(s *fakeServer) {
		s.answer = func(q, a *dns.Msg) {
			for range 13 {
				var peers []netip.AddrPort
				for range maxTold {
					n := serial.Add(1)
					peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(n%2)))
				}
				a.Answer = append(a.Answer, record(q.Question[0].Name, []string{"peers=" + writePeers(peers)}))
			}
			a.Compress = true
		}
	})
	w := newTestDNS(t, server.addr())
	w.refresh = time.Millisecond
	f := followOn(t, w, testID("forged"), lookUpOnly, 0)
	for late := time.After(time.Minute); server.asked.Load() < 20; {
		select {
		case <-f.reports:
		case <-late:
			t.Fatal("it has not asked 20 times")
		}
	}
	f.end()
	// It has run for less than a minute.
	if n := len(f.found); n == 0 || n > findsAtOnce+findsPerSecond*60 {
		t.Errorf("%d peers, want some, and %d at most", n, findsAtOnce)
	}
	for len(f.found) > 0 {
		if a := <-f.found; a.at.Port() == 0 {
			t.Errorf("found %s", a.at)
		}
	}
}

// An answer counts if it is from the server that was asked, with the number and the question of
// the question.
func TestDNSBelievesOnlyAnswers(t *testing.T) {
	good := addrPorts("192.0.2.1:1")
	forged := addrPorts("192.0.2.66:66")
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	server := newFakeServer(t, func(s *fakeServer) {
		s.answer = func(q, a *dns.Msg) {
			a.Answer = append(a.Answer, record(q.Question[0].Name, []string{"peers=" + writePeers(good)}),
				record("x."+q.Question[0].Name, []string{"peers=" + writePeers(forged)}))
		}
		s.instead = func(a *dns.Msg, to *net.UDPAddr) {
			name := a.Question[0].Name
			bad := func(change func(*dns.Msg)) *dns.Msg {
				m := a.Copy()
				m.Answer = []dns.RR{record(name, []string{"token=t", "peers=" + writePeers(forged)})}
				change(m)
				return m
			}
			if b, err := bad(func(*dns.Msg) {}).Pack(); err == nil {
				_, _ = other.WriteToUDP(b, to)
			}
			s.send(bad(func(m *dns.Msg) { m.Id++ }), to)
			s.send(bad(func(m *dns.Msg) { m.Question = nil }), to)
			s.send(bad(func(m *dns.Msg) { m.Question[0].Name = "x." + name }), to)
			s.send(bad(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), to)
			s.send(a, to)
		}
	})
	f := followOn(t, newTestDNS(t, server.addr()), testID("believed"), lookUpOnly, 0)
	f.await(t, good[0].String())
	f.end()
	for len(f.found) > 0 {
		if a := <-f.found; a.at != good[0] {
			t.Errorf("found %s", a.at)
		}
	}
}

// A server that gives a new token each time was asked without end.
func TestDNSNewTokenEachTime(t *testing.T) {
	server := newFakeServer(t, func(s *fakeServer) {
		s.answer = func(q, a *dns.Msg) {
			a.Answer = []dns.RR{record(q.Question[0].Name, []string{"token=" + strconv.FormatInt(s.asked.Load(), 10)})}
		}
	})
	f := followOn(t, newTestDNS(t, server.addr()), testID("tokens"), both, 4011)
	if err := f.fails(t); !strings.Contains(err.Error(), "token") {
		t.Errorf("the error is %v", err)
	}
	if n := server.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// The address of a server comes from the operator, but not every address is one.
func TestDNSServerMayNotBeAsked(t *testing.T) {
	server := newFakeServer(t, nil)
	policy := testPolicy(t)
	policy.AddOwn(netip.MustParseAddrPort(server.addr()))
	w, err := newDNS(dnsConfig{Servers: []string{server.addr()}, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := followOn(t, w, testID("own"), both, 4012).fails(t); !strings.Contains(err.Error(), "our own") {
		t.Errorf("the error is %v", err)
	}
}

// Reports of several servers: one that works is enough.
func TestDNSReports(t *testing.T) {
	var got []string
	f := &dnsFollow{errs: make([]error, 2), known: make([]bool, 2), report: func(err error) {
		if err == nil {
			got = append(got, "works")
		} else {
			got = append(got, "fails")
		}
	}}
	f.settled(0, errNoAnswer)
	f.settled(1, nil)
	f.settled(0, errNoAnswer)
	f.settled(1, errNoAnswer)
	f.settled(0, nil)
	if s := strings.Join(got, " "); s != "works works fails works" {
		t.Errorf("reported %s", s)
	}
}
