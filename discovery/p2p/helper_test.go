package p2p

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// patience is how long a test waits for what must come. It is long because machines are slow, not
// because it takes long.
const patience = 60 * time.Second

var (
	testTopic      = wtproto.TopicFromName("p2p test")
	nativeEndpoint wtproto.EndpointID // the endpoint of a native peer
)

// private returns a policy that allows loopback.
func private(t testing.TB) *discovery.Policy {
	t.Helper()
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// listen starts a host on loopback on a private DHT, with short delays.
func listen(t testing.TB, change func(*Config)) *Host {
	t.Helper()
	cfg := Config{
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: Private, Policy: private(t),
		LookUpMin: 50 * time.Millisecond, LookUpEvery: time.Second, LookUpRest: time.Second,
		RetryMin: 50 * time.Millisecond, RetryMax: time.Second,
		SeedMin: 50 * time.Millisecond, SeedMax: 500 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	h, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return h
}

// gateway, native and seeds change a Config.
func gateway(c *Config) { c.Gateway = true }
func native(c *Config)  { c.Gateway = false }

func seeds(hosts ...*Host) func(*Config) {
	return func(c *Config) {
		for _, h := range hosts {
			c.Seeds = append(c.Seeds, h.Addrs()...)
		}
	}
}

func all(changes ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, f := range changes {
			f(c)
		}
	}
}

// swarmOf starts hosts on one private DHT, one for each of changes.
func swarmOf(t testing.TB, changes ...func(*Config)) []*Host {
	t.Helper()
	var hosts []*Host
	for i, c := range changes {
		if i > 0 {
			c = all(c, seeds(hosts[0]))
		}
		hosts = append(hosts, listen(t, c))
	}
	return hosts
}

// keys returns two keys, of which the first belongs to the smaller id.
func keys(t testing.TB) (small, large ed25519.PrivateKey) {
	t.Helper()
	var ids [2]peer.ID
	var keys [2]ed25519.PrivateKey
	for i := range keys {
		_, k, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
		if ids[i], err = peer.IDFromPrivateKey(p2pKey(t, k)); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] > ids[1] {
		return keys[1], keys[0]
	}
	return keys[0], keys[1]
}

// smaller returns a key whose id is smaller than another one.
func smaller(t testing.TB, than peer.ID) ed25519.PrivateKey {
	t.Helper()
	for {
		k, _ := keys(t)
		if id, err := peer.IDFromPrivateKey(p2pKey(t, k)); err != nil {
			t.Fatal(err)
		} else if id < than {
			return k
		}
	}
}

func p2pKey(t testing.TB, k ed25519.PrivateKey) crypto.PrivKey {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// key sets the identity.
func key(k ed25519.PrivateKey) func(*Config) { return func(c *Config) { c.Key = k } }

// presence returns one of a gateway with these endpoints.
func presence(announce, lookUp bool, e ...wtproto.EndpointID) *discovery.Presence {
	return discovery.NewPresence(discovery.State{Announce: announce, LookUp: lookUp, Endpoints: e})
}

func endpoint(n int) wtproto.EndpointID { return wtproto.EndpointID{byte(n >> 8), byte(n), 0xee} }

// member is a test that ranges over Join.
type member struct {
	t     testing.TB
	items chan item
	leave func() // ends Join, and returns when it has
}

// join joins the topic. Circuits that others open go to accept, each in its goroutine, or, without
// it, to await.
func join(t testing.TB, h *Host, p *discovery.Presence, accept func(discovery.Stream)) *member {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{t: t, items: make(chan item, 1<<16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s, err := range h.Join(ctx, testTopic, p) {
			if s.Inbound == nil || accept == nil {
				m.items <- item{s, err}
				continue
			}
			st, err := s.Inbound.Accept()
			if err != nil {
				continue
			}
			go accept(st) // ends with the host at the latest
		}
	}()
	m.leave = func() { cancel(); <-done }
	t.Cleanup(m.leave)
	return m
}

// await returns the next item that is wanted, and drops those before it.
func (m *member) await(what string, wanted func(item) bool) item {
	m.t.Helper()
	return m.awaitFor(patience, what, wanted)
}

// awaitFor is await with a patience of its own.
func (m *member) awaitFor(patience time.Duration, what string, wanted func(item) bool) item {
	m.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var seen []string
	for {
		select {
		case i := <-m.items:
			if wanted(i) {
				return i
			}
			seen = append(seen, describe(i))
		case <-timer.C:
			m.t.Fatalf("waited in vain for %s; came: %s", what, strings.Join(seen, "; "))
		}
	}
}

// awaitBoth waits until peer id was seen as one that we found and as one that found us.
func (m *member) awaitBoth(id string) {
	m.t.Helper()
	var found, foundUs bool
	m.await("a peer that found us and was found", func(i item) bool {
		if s := i.sighting; s.Peer.ID == id && s.Holds > 0 {
			found, foundUs = found || !s.PeerFoundUs, foundUs || s.PeerFoundUs
		}
		return found && foundUs
	})
}

func describe(i item) string {
	s := i.sighting
	return fmt.Sprintf("{%s %x found us %v gone %v dial %v inbound %v: %v}",
		s.Peer.Network, s.Peer.ID, s.PeerFoundUs, s.Gone, s.Dial != nil, s.Inbound != nil, i.err)
}

// isPeer matches sightings of endpoint e of h.
func isPeer(h *Host, e wtproto.EndpointID) func(item) bool {
	id := peerID(h, e)
	return func(i item) bool {
		return i.err == nil && i.sighting.Peer.ID == id && !i.sighting.Gone && i.sighting.Inbound == nil
	}
}

func isGone(h *Host, e wtproto.EndpointID) func(item) bool {
	id := peerID(h, e)
	return func(i item) bool { return i.err == nil && i.sighting.Peer.ID == id && i.sighting.Gone }
}

func isInbound(i item) bool { return i.sighting.Inbound != nil }

func isError(c wtproto.Code) func(item) bool {
	return func(i item) bool {
		e, ok := errors.AsType[*wtproto.Error](i.err)
		return ok && e.Code == c
	}
}

func isRecovery(i item) bool { return i.err == nil && i.sighting.Peer.ID == "" }

func peerID(h *Host, e wtproto.EndpointID) string {
	if e == nativeEndpoint {
		return string(h.id)
	}
	return string(h.id) + string(e[:])
}

// dial opens a circuit to a sighted peer.
func dial(t testing.TB, i item, from wtproto.EndpointID) discovery.Stream {
	t.Helper()
	if i.sighting.Dial == nil {
		t.Fatalf("%s cannot be dialed", describe(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := i.sighting.Dial(ctx, from)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// echo sends back what comes, ends with it, and frees the circuit.
func echo(s discovery.Stream) {
	defer s.Close()
	if _, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s}); err == nil {
		_ = s.CloseWrite()
	}
}

// testEcho sends n bytes over s, whose other end echoes, ends the sending, and wants them back and
// then the end.
func testEcho(t testing.TB, s discovery.Stream, n int) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(pattern(n))
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err != nil || !slices.Equal(got, pattern(n)) {
		t.Errorf("read %d bytes, %v; want the %d that were sent, and the end", len(got), err, n)
	}
	if err := <-sent; err != nil {
		t.Errorf("send: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// pattern returns n bytes that repeat late.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8) ^ byte(i)
	}
	return b
}

// wantCode fails unless err holds a wtproto.Error with this code, decided by the other side or
// not.
func wantCode(t testing.TB, what string, err error, code wtproto.Code, remote bool) {
	t.Helper()
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok || e.Code != code || e.Remote != remote {
		t.Errorf("%s: %v, want %v, remote %v", what, err, code, remote)
	}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// look returns what f says of what h knows of another host on the topic, or false if it knows
// nothing.
func look(h *Host, id peer.ID, f func(*remote) bool) bool {
	h.mu.Lock()
	tp := h.topics[testTopic.Digest()]
	h.mu.Unlock()
	if tp == nil {
		return false
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	r := tp.hosts[id]
	return r != nil && f(r)
}

// stranger is a libp2p host that follows no rule but those of the test. Without a key it has a
// random one.
type stranger struct {
	host.Host
	t testing.TB
}

func newStranger(t testing.TB, k ed25519.PrivateKey) stranger {
	t.Helper()
	if k == nil {
		k, _ = keys(t)
	}
	h, err := libp2p.New(
		libp2p.Identity(p2pKey(t, k)),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPublic(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return stranger{h, t}
}

// addr returns where s is, as an operator would write it.
func (s stranger) addr() string { return fmt.Sprintf("%s/p2p/%s", s.Addrs()[0], s.ID()) }

// open opens a stream of our protocol to h.
func (s stranger) open(h *Host) network.Stream {
	s.t.Helper()
	info := peer.AddrInfo{ID: h.id, Addrs: h.libp2p.Addrs()}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.Connect(ctx, info); err != nil {
		s.t.Fatal(err)
	}
	st, err := s.NewStream(ctx, h.id, wtproto.HostProtocol)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { st.Reset() })
	return st
}

// link opens a control stream to h, as a gateway or a native peer, and returns it after HOST of
// both.
func (s stranger) link(h *Host, flags wtproto.HostFlags) network.Stream {
	s.t.Helper()
	st := s.open(h)
	write(s.t, st, wtproto.Host{Flags: flags, Run: s.run()}.Append(nil))
	read(s.t, st, wtproto.TypeHost)
	return st
}

// run names the life of s.
func (s stranger) run() (r wtproto.Run) {
	copy(r[:], s.ID()[len(s.ID())-len(r):])
	return r
}

// greet answers HOST on a control stream that another host opened.
func (s stranger) greet(st network.Stream, flags wtproto.HostFlags) bool {
	if typ, _, err := wtproto.NewReader(st).Next(); err != nil || typ != wtproto.TypeHost {
		return false
	}
	_, err := st.Write(wtproto.Host{Flags: flags, Run: s.run()}.Append(nil))
	return err == nil
}

// meet returns a good MEET for h, with the endpoint of a native peer if there are none.
func (s stranger) meet(h *Host, e ...wtproto.EndpointID) wtproto.Meet {
	if len(e) == 0 {
		e = []wtproto.EndpointID{nativeEndpoint}
	}
	return wtproto.Meet{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofMeet, h.id), Endpoints: e}
}

// met returns a good MET for h.
func (s stranger) met(h *Host, e ...wtproto.EndpointID) wtproto.Met {
	return wtproto.Met{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofMet, h.id), Endpoints: e}
}

func (s stranger) prove(l wtproto.ProofLabel, to peer.ID) [32]byte {
	return testTopic.Proof(l, []byte(s.ID()), []byte(to))
}

// read reads one frame of type want.
func read(t testing.TB, r io.Reader, want wtproto.Type) []byte {
	t.Helper()
	typ, payload, err := wtproto.NewReader(r).Next()
	if err != nil || typ != want {
		t.Fatalf("frame 0x%x, %v; want 0x%x", typ, err, want)
	}
	return payload
}

func write(t testing.TB, w io.Writer, frame []byte) {
	t.Helper()
	if _, err := w.Write(frame); err != nil {
		t.Fatal(err)
	}
}
