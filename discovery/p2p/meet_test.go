package p2p

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestChoose(t *testing.T) {
	ids := func(from, to int) (e []wtproto.EndpointID) {
		for i := from; i < to; i++ {
			e = append(e, endpoint(i))
		}
		return e
	}
	for _, tc := range []struct {
		name      string
		told, all []wtproto.EndpointID
		n         int
		kept      []wtproto.EndpointID // that have to be in the choice
		size      int
		more      bool
	}{
		{"none", nil, nil, 4, nil, 0, false},
		{"all fit", ids(2, 4), ids(0, 4), 4, ids(0, 4), 4, false},
		{"any", nil, ids(0, 9), 4, nil, 4, true},
		{"told before", ids(3, 7), ids(0, 9), 4, ids(3, 7), 4, true},
		{"some of them left", ids(0, 4), ids(2, 9), 4, ids(2, 4), 4, true},
		{"fewer fit", ids(0, 8), ids(0, 9), 4, nil, 4, true},
	} {
		got, more := choose(tc.told, tc.all, tc.n)
		if len(got) != tc.size || more != tc.more {
			t.Errorf("%s: %v, more %v; want %d, %v", tc.name, got, more, tc.size, tc.more)
		}
		for _, e := range tc.kept {
			if !slices.Contains(got, e) {
				t.Errorf("%s: %v lacks %v", tc.name, got, e)
			}
		}
		for i, e := range got {
			if !slices.Contains(tc.all, e) || slices.Contains(got[:i], e) {
				t.Errorf("%s: %v in %v is not there, or twice", tc.name, e, got)
			}
		}
	}
}

// What changes on one side is seen on the other.
func TestPresenceChanges(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	p := presence(false, false)
	join(t, g, p, nil)
	nm := join(t, n, discovery.Native(), nil)

	set := func(announce bool, e ...wtproto.EndpointID) {
		p.Set(discovery.State{Announce: announce, Endpoints: e})
	}
	set(true, endpoint(1)) // announced only now
	if s := nm.await("the first client", isPeer(g, endpoint(1))).sighting; s.More || s.FoundUs {
		t.Errorf("sighting %+v", s)
	}
	set(true, endpoint(1), endpoint(2))
	nm.await("the second client", isPeer(g, endpoint(2)))
	set(true, endpoint(2))
	nm.await("the first client to leave", isGone(g, endpoint(1)))

	var many []wtproto.EndpointID
	for i := range 2 * wtproto.MaxEndpoints {
		many = append(many, endpoint(2+i))
	}
	set(true, many...)
	seen := make(map[string]bool)
	for len(seen) < wtproto.MaxEndpoints {
		i := nm.await("clients", func(i item) bool { return i.sighting.More })
		if i.sighting.Gone {
			t.Errorf("%s", describe(i))
		}
		seen[i.sighting.Peer.ID] = true
	}
	if !seen[peerID(g, endpoint(2))] {
		t.Error("of the many, the one that was told before is missing")
	}
	set(true)
	for range wtproto.MaxEndpoints {
		nm.await("the clients to leave", func(i item) bool { return i.sighting.Gone && seen[i.sighting.Peer.ID] })
	}
}

// A host that leaves the topic, or is closed, has gone.
func TestDeparture(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*Host, *member)
	}{
		{"leave", func(_ *Host, m *member) { m.leave() }},
		{"close", func(h *Host, _ *member) { _ = h.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := swarmOf(t, gateway, native)
			gm := join(t, hosts[0], presence(true, true, endpoint(1)), nil)
			nm := join(t, hosts[1], discovery.Native(), echo)
			peer := gm.await("the native peer", isPeer(hosts[1], nobody))
			c := dial(t, peer, endpoint(1))
			tc.end(hosts[1], nm)
			gm.await("its departure", isGone(hosts[1], nobody))
			if tc.name == "leave" { // circuits live on
				testEcho(t, c, 1000)
			} else {
				_, err := c.Read(make([]byte, 1))
				wantCode(t, "Read", err, wtproto.CodePeerGone, false)
			}
			if tc.name != "leave" {
				return
			}
			// It is asked again, and that it refuses is no fault of the network.
			tried := func(r *remote) bool { return r.left && !r.queued && r.next.After(r.seen.Add(2*hosts[0].RetryMin)) }
			eventually(t, "it was asked again", func() bool { return look(hosts[0], hosts[1].id, tried) })
			join(t, hosts[1], discovery.Native(), echo)
			gm.await("its return", func(i item) bool {
				if i.err != nil {
					t.Errorf("%s", describe(i))
				}
				return isPeer(hosts[1], nobody)(i)
			})
		})
	}
}

// Two hosts that find each other at the same time have one meeting in the end, on the stream of the smaller id, and
// both know that they found and were found.
func TestBothFind(t *testing.T) {
	hosts := swarmOf(t, native, gateway, gateway)
	a, b := hosts[1], hosts[2]
	am := join(t, a, presence(true, true, endpoint(1)), nil)
	bm := join(t, b, presence(true, true, endpoint(2)), nil)
	am.awaitBoth(peerID(b, endpoint(2)))
	bm.awaitBoth(peerID(a, endpoint(1)))
	if a.id > b.id {
		a, b = b, a
	}
	eventually(t, "one meeting is left", func() bool {
		return look(a, b.id, func(r *remote) bool { return r.sent != nil && r.sent.live && r.received == nil }) &&
			look(b, a.id, func(r *remote) bool { return r.sent == nil && r.received != nil })
	})
	// Nobody has left meanwhile.
	for _, m := range []*member{am, bm} {
		for len(m.items) > 0 {
			if i := <-m.items; i.sighting.Gone {
				t.Errorf("%s", describe(i))
			}
		}
	}
}

// The same, step by step, with a stranger that decides when.
func TestTwoMeetings(t *testing.T) {
	small, large := keys(t)
	for _, tc := range []struct {
		name           string
		host, stranger ed25519.PrivateKey
		stays          bool // the host's
	}{
		{"the host's stays", small, large, true},
		{"the stranger's stays", large, small, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStranger(t, tc.stranger)
			asked := make(chan network.Stream, 8)
			s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) { asked <- st })
			h := listen(t, all(key(tc.host), func(c *Config) {
				c.Mode, c.Static = Off, map[wtproto.Topic][]string{testTopic: {s.addr()}}
			}))
			m := join(t, h, discovery.Native(), nil)
			theirs := <-asked
			read(t, theirs, wtproto.TypeMeet)
			ours := s.open(h)
			write(t, ours, s.meet(h).Append(nil))
			met, err := wtproto.ParseMet(read(t, ours, wtproto.TypeMet))
			if err != nil {
				t.Fatal(err)
			}
			if tc.stays {
				if met.Code != wtproto.CodeReplaced {
					t.Errorf("MET has %v, want %v", met.Code, wtproto.CodeReplaced)
				}
				write(t, theirs, wtproto.Met{Proof: s.prove(wtproto.ProofMet, h.id), Endpoints: []wtproto.EndpointID{nobody}}.Append(nil))
			} else {
				if met.Code != wtproto.CodeNone {
					t.Errorf("MET has %v, want %v", met.Code, wtproto.CodeNone)
				}
				_, err := theirs.Read(make([]byte, 1))
				if e, ok := errors.AsType[*network.StreamError](err); !ok || e.ErrorCode != network.StreamErrorCode(wtproto.CodeReplaced) {
					t.Errorf("the host's stream: %v, want a reset with %v", err, wtproto.CodeReplaced)
				}
			}
			m.awaitBoth(string(s.ID()))
			// A newer MEET replaces the older one, and that is no departure.
			if !tc.stays {
				newer := s.open(h)
				write(t, newer, s.meet(h).Append(nil))
				if met, err := wtproto.ParseMet(read(t, newer, wtproto.TypeMet)); err != nil || met.Code != wtproto.CodeNone {
					t.Errorf("MET = %+v, %v", met, err)
				}
				_, err := io.ReadAll(ours)
				if e, ok := errors.AsType[*network.StreamError](err); !ok || e.ErrorCode != network.StreamErrorCode(wtproto.CodeReplaced) {
					t.Errorf("the older stream: %v, want a reset with %v", err, wtproto.CodeReplaced)
				}
				ours = newer
			} else {
				ours = theirs
			}
			write(t, ours, wtproto.Endpoints{}.Append(nil))
			gone := m.await("the departure", func(i item) bool { return i.sighting.Gone })
			if gone.sighting.Peer.ID != string(s.ID()) {
				t.Errorf("%s", describe(gone))
			}
			for len(m.items) > 0 {
				if i := <-m.items; i.sighting.Gone {
					t.Errorf("left twice: %s", describe(i))
				}
			}
		})
	}
}

func TestMeetRefused(t *testing.T) {
	small, large := keys(t)
	h := listen(t, key(large))
	m := join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	elsewhere := wtproto.TopicFromName("elsewhere")
	other := s.meet(h)
	other.Digest = elsewhere.Digest()
	other.Proof = elsewhere.Proof(wtproto.ProofMeet, []byte(s.ID()), []byte(h.id))
	wrong := s.meet(h)
	wrong.Proof[0] ^= 0x80
	for _, tc := range []struct {
		name string
		meet wtproto.Meet
	}{{"unknown topic", other}, {"wrong proof", wrong}} {
		st := s.open(h)
		write(t, st, tc.meet.Append(nil))
		met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
		if err != nil || met.Code != wtproto.CodeForbidden || met.Proof != [32]byte{} || met.Flags != 0 || len(met.Endpoints) != 0 {
			t.Errorf("%s: MET = %+v, %v, want %v and zeros", tc.name, met, err, wtproto.CodeForbidden)
		}
		if n, err := st.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: Read = %d, %v, want the end", tc.name, n, err)
		}
	}
	st := s.open(h)
	write(t, st, s.meet(h).Append(nil))
	met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
	if err != nil || met.Code != wtproto.CodeNone || met.Flags != 0 || !slices.Equal(met.Endpoints, []wtproto.EndpointID{nobody}) ||
		!testTopic.VerifyProof(met.Proof, wtproto.ProofMet, []byte(h.id), []byte(s.ID())) {
		t.Errorf("MET = %+v, %v, want a good proof and one endpoint", met, err)
	}
	if i := m.await("the stranger", func(i item) bool { return i.sighting.Holds > 0 }); i.sighting.Peer.ID != string(s.ID()) || !i.sighting.FoundUs || i.sighting.Dial != nil {
		t.Errorf("%s", describe(i))
	}
}

// A host can speak for its own kind of endpoints only.
func TestForeignEndpoints(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(gateway, key(large), func(c *Config) { c.Mode = Off }))
	m := join(t, h, presence(true, true), nil)
	s := newStranger(t, small)
	st := s.open(h)
	meet := s.meet(h, endpoint(1), nobody, endpoint(1))
	write(t, st, meet.Append(nil))
	read(t, st, wtproto.TypeMet)
	write(t, st, wtproto.Endpoints{Endpoints: []wtproto.EndpointID{nobody, endpoint(2)}}.Append(nil))
	var got []string
	second := endpoint(2)
	m.await("the second client", func(i item) bool {
		if !isRecovery(i) {
			got = append(got, describe(i))
		}
		return i.sighting.Peer.ID == string(s.ID())+string(second[:])
	})
	if len(got) != 3 { // the first is there, has gone, the second is there
		t.Errorf("came: %q", got)
	}
}

// Bad frames end their stream with a code, and nothing else.
func TestBadFrames(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(key(large), func(c *Config) { c.AnswerTimeout = time.Second }))
	join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	good := s.open(h)
	write(t, good, s.meet(h).Append(nil))
	read(t, good, wtproto.TypeMet)
	meet := s.meet(h).Append(nil)
	flood := slices.Repeat(wtproto.Endpoints{Endpoints: []wtproto.EndpointID{nobody}}.Append(nil), 1000)
	for _, tc := range []struct {
		name string
		send []byte
		fin  bool
		met  bool // the stream begins with a good MEET
		want wtproto.Code
	}{
		{"another frame first", wtproto.Endpoints{}.Append(nil), false, false, wtproto.CodeProtocol},
		{"an unknown frame first", []byte{0x3f, 0}, false, false, wtproto.CodeProtocol},
		{"a frame of a session", []byte{0x01, 0}, false, false, wtproto.CodeProtocol},
		{"too long", []byte{0x20, 0x80, 0, 0x40, 1}, false, false, wtproto.CodeTooLarge},
		{"too many endpoints", meetWith(65), false, false, wtproto.CodeTooLarge},
		{"short", []byte{0x20, 1, 0}, false, false, wtproto.CodeProtocol},
		{"cut", meet[:20], true, false, wtproto.CodeProtocol},
		{"silent", meet[:1], false, false, wtproto.CodeIdle},
		{"cut and silent", meet[:20], false, false, wtproto.CodeIdle},
		{"MEET twice on a stream", meet, false, true, wtproto.CodeProtocol},
		{"a frame of a session in a meeting", []byte{0x0e, 8, 1, 2, 3, 4, 5, 6, 7, 8}, false, true, wtproto.CodeProtocol},
		{"short ENDPOINTS", []byte{0x22, 1, 0}, false, true, wtproto.CodeProtocol},
		{"too many ENDPOINTS", flood, false, true, wtproto.CodeRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := s.open(h)
			if tc.met {
				g := listen(t, native) // each its own, as they replace each other
				join(t, g, discovery.Native(), nil)
				st = s.open(g)
				write(t, st, s.meet(g).Append(nil))
				read(t, st, wtproto.TypeMet)
			}
			_, _ = st.Write(tc.send) // the end may come before all is sent
			if tc.fin {
				if err := st.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := io.ReadAll(st)
			if e, ok := errors.AsType[*network.StreamError](err); !ok || wtproto.Code(e.ErrorCode) != tc.want {
				t.Errorf("the stream ended with %v, want a reset with %v", err, tc.want)
			}
		})
	}
	// The meeting goes on, and skips what it does not know.
	write(t, good, []byte{0x3f, 2, 1, 2})
	write(t, good, wtproto.Endpoints{}.Append(nil))
	eventually(t, "the last frame has arrived", func() bool {
		return look(h, s.ID(), func(r *remote) bool { return r.received != nil && len(r.endpoints) == 0 })
	})
}

func meetWith(n int) []byte {
	return wtproto.Meet{Endpoints: make([]wtproto.EndpointID, n)}.Append(nil)
}

// What a host may answer to MEET, other than what it should. Each is told once, and the next answer is taken.
func TestMeetAnswers(t *testing.T) {
	small, large := keys(t)
	answers := make(chan func(network.Stream))
	s := newStranger(t, large)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		if typ, _, err := wtproto.NewReader(st).Next(); err != nil || typ != wtproto.TypeMeet {
			return
		}
		(<-answers)(st)
	})
	h := listen(t, all(gateway, key(small), func(c *Config) {
		c.Mode, c.AnswerTimeout, c.LookUpEvery, c.RetryMax = Off, 500*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
		c.Static = map[wtproto.Topic][]string{testTopic: {s.addr()}}
	}))
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	send := func(frame []byte) func(network.Stream) {
		return func(st network.Stream) { _, _ = st.Write(frame) }
	}
	for _, tc := range []struct {
		name   string
		answer func(network.Stream)
		want   wtproto.Code
	}{
		{"not on the topic", send(wtproto.Met{Code: wtproto.CodeForbidden}.Append(nil)), wtproto.CodeForbidden},
		{"no room", send(wtproto.Met{Code: wtproto.CodeBusy}.Append(nil)), wtproto.CodeBusy},
		{"a reset", func(st network.Stream) { _ = st.Reset() }, wtproto.CodePeerReset},
		{"nothing", func(network.Stream) {}, wtproto.CodePeerUnreachable},
		{"a wrong proof", send(wtproto.Met{Proof: s.prove(wtproto.ProofMeet, h.id)}.Append(nil)), wtproto.CodeForbidden},
		{"another frame", send(wtproto.Opened{}.Append(nil)), wtproto.CodeProtocol},
		{"a frame of a session", send(wtproto.Ping{}.Append(nil)), wtproto.CodeProtocol},
		{"a long frame", send([]byte{byte(wtproto.TypeMet), 0x80, 1, 0, 0}), wtproto.CodeTooLarge},
		{"a short frame", send([]byte{byte(wtproto.TypeMet), 1, 0}), wtproto.CodeProtocol},
	} {
		answers <- tc.answer
		m.await(tc.name, isError(tc.want))
	}
	met := wtproto.Met{Proof: s.prove(wtproto.ProofMet, h.id), Endpoints: []wtproto.EndpointID{nobody}}.Append(nil)
	answers <- send(met)
	m.await("the stranger", func(i item) bool { return i.sighting.Peer.ID == string(s.ID()) })
	m.await("that all is well", isRecovery)
}

// A host that does not speak our protocol is nothing special on a DHT.
func TestSpeaksSomethingElse(t *testing.T) {
	small, large := keys(t)
	s := newStranger(t, large)
	h := listen(t, all(key(small), func(c *Config) {
		c.Mode, c.Static = Off, map[wtproto.Topic][]string{testTopic: {s.addr()}}
	}))
	m := join(t, h, discovery.Native(), nil)
	m.await("the reason", isError(wtproto.CodeProtocol))
}

// Each host that a stranger made up had its line in the log, with the topic in full.
func TestStrangersFailuresAreLoggedOnce(t *testing.T) {
	var text bytes.Buffer
	h := listen(t, all(gateway, func(c *Config) { c.Mode, c.Logger = Off, slog.New(slog.NewTextHandler(&text, nil)) }))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tp, err := h.enter(ctx, testTopic, presence(false, false))
	if err != nil {
		t.Fatal(err)
	}
	defer h.leave(tp)
	tp.mu.Lock()
	for i := range 100 {
		r := newRemote(peer.ID(fmt.Sprintf("stranger %d", i)), h)
		r.guess = false
		tp.failedLocked(r, wtproto.Errorf(wtproto.CodeForbidden, "MET: the proof is wrong"))
	}
	tp.mu.Unlock()
	got := text.String()
	if n := strings.Count(got, "could not be met"); n != 1 {
		t.Errorf("%d lines, want one:\n%s", n, got)
	}
	if !strings.Contains(got, "topic="+testTopic.Short()) || strings.Contains(got, testTopic.String()) {
		t.Errorf("%s\nwant the topic by its digest", got)
	}
}
