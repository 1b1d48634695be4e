package p2p

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A host that floods, speaks out of turn or lies harms no circuit of others, and is left alone
// for a while, longer each time. Whatever it does, its link ends with a code, and the next one is
// refused.
func TestLiars(t *testing.T) {
	small, _ := keys(t)
	n := listen(t, all(native, off))
	h := listen(t, all(gateway, off, key(small), func(c *Config) {
		c.RetryMin, c.RetryMax = 20*time.Second, time.Minute // left alone until the test has seen it
		c.Static = map[wtproto.Topic][]string{testTopic: n.Addrs()}
	}))
	join(t, n, discovery.Native(), echo)
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	honest := dial(t, m.await("the honest peer", isPeer(n, nativeEndpoint)), endpoint(1))
	ping := func(t *testing.T) {
		t.Helper()
		got := make([]byte, 4)
		if _, err := honest.Write([]byte("ping")); err != nil {
			t.Fatalf("the honest circuit: %v", err)
		}
		for read := 0; read < len(got); {
			n, err := honest.Read(got[read:])
			if err != nil {
				t.Fatalf("the honest circuit: %v", err)
			}
			read += n
		}
	}
	digest := testTopic.Digest()
	foreign := func(n int) (frames []byte) {
		for i := range n {
			frames = wtproto.Meet{Digest: [32]byte{byte(i >> 16), byte(i >> 8), byte(i)}}.Append(frames)
		}
		return frames
	}
	for _, tc := range []struct {
		name string
		want wtproto.Code
		do   func(t *testing.T, s stranger, link network.Stream)
	}{
		{"MEET without end for other topics", wtproto.CodeRateLimited, func(t *testing.T, s stranger, link network.Stream) {
			_, _ = link.Write(foreign(refusedBurst + 10_000))
		}},
		{"frames without end", wtproto.CodeRateLimited, func(t *testing.T, s stranger, link network.Stream) {
			linkOf(h, s.ID()).frames.SetLimit(0)
			_, _ = link.Write(bytes.Repeat(wtproto.Part{Digest: digest}.Append(nil), frameBurst+1))
		}},
		{"MET without MEET", wtproto.CodeProtocol, func(t *testing.T, s stranger, link network.Stream) {
			write(t, link, s.met(h, nativeEndpoint).Append(nil))
		}},
		{"HOST twice", wtproto.CodeProtocol, func(t *testing.T, s stranger, link network.Stream) {
			write(t, link, wtproto.Host{}.Append(nil))
		}},
		{"OPEN out of turn", wtproto.CodeProtocol, func(t *testing.T, s stranger, _ network.Stream) {
			st := s.open(h) // the host has the smaller id, and opens
			write(t, st, wtproto.Open{Digest: digest, Proof: s.prove(wtproto.ProofOpen, h.id), From: endpoint(7), To: endpoint(1)}.Append(nil))
			if o, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened)); err != nil || o.Code != wtproto.CodeProtocol {
				t.Errorf("OPENED = %+v, %v", o, err)
			}
		}},
		{"endpoints that are not there", wtproto.CodeForbidden, func(t *testing.T, s stranger, link network.Stream) {
			s.SetStreamHandler(wtproto.HostProtocol, refuseOpens(wtproto.CodePeerUnreachable))
			write(t, link, s.meet(h, endpoints(wtproto.MaxEndpoints)...).Append(nil))
			read(t, link, wtproto.TypeMet)
			for range lieBurst + 1 {
				i := m.await("an endpoint", func(i item) bool {
					return i.sighting.Dial != nil && i.sighting.Peer.ID[:len(s.ID())] == string(s.ID())
				})
				c, err := i.sighting.Dial(t.Context(), endpoint(1))
				if err == nil {
					c.Close()
				}
				wantCode(t, "Dial", err, wtproto.CodePeerUnreachable, true)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStranger(t, nil)
			for s.ID() < h.id {
				s = newStranger(t, nil)
			}
			link := s.link(h, wtproto.HostGateway)
			eventually(t, "the link is established", func() bool { return linkOf(h, s.ID()) != nil })
			tc.do(t, s, link)
			wantReset(t, "the link", link, tc.want)
			ping(t)
			again := s.open(h)
			write(t, again, wtproto.Host{}.Append(nil))
			wantReset(t, "the next link", again, wtproto.CodeBusy)
			if h.links.shunned(s.ID()) == nil {
				t.Error("it is not left alone")
			}
		})
	}
}

// refuseOpens answers OPEN with code.
func refuseOpens(code wtproto.Code) func(network.Stream) {
	return func(st network.Stream) {
		if typ, _, err := wtproto.NewReader(st).Next(); err == nil && typ == wtproto.TypeOpen {
			_, _ = st.Write(wtproto.Opened{Code: code}.Append(nil))
		}
	}
}

// It is longer each time, and nobody else is left alone. A host that is left alone is not asked
// either.
func TestBlame(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode, c.RetryMin, c.RetryMax = Off, time.Second, 10*time.Minute })
	fault := wtproto.Errorf(wtproto.CodeProtocol, "MET without MEET")
	var last time.Duration
	for i := range 12 {
		h.links.blame("liar", fault)
		f := h.links.faulty["liar"]
		d := time.Until(f.until)
		if d < last/2 || i < 4 && d < last-time.Second || d > time.Hour {
			t.Errorf("fault %d: left alone for %v, before for %v", i, d, last)
		}
		h.links.blame("liar", fault) // at the same moment
		if again := time.Until(f.until); again > d {
			t.Errorf("fault %d counts twice", i)
		}
		last, f.until = d, time.Time{}
	}
	if h.links.shunned("liar") != nil || h.links.shunned("other") != nil {
		t.Error("a host is left alone that should not be")
	}
	for i := range 2 * maxFaulty {
		h.links.blame(peer.ID(fmt.Sprint("liar ", i)), fault)
	}
	if n := len(h.links.faulty); n > maxFaulty {
		t.Errorf("%d hosts are remembered", n)
	}
	if err := h.links.shunned(peer.ID(fmt.Sprint("liar ", 2*maxFaulty-1))); err == nil {
		t.Error("it is not left alone")
	} else {
		wantCode(t, "the reason", err, wtproto.CodeBusy, false)
	}
}

// Bad frames end their stream with a code, and nothing else.
func TestBadFrames(t *testing.T) {
	small, large := keys(t)
	h := listen(t, key(large))
	join(t, h, discovery.Native(), nil)
	hasty := listen(t, func(c *Config) { c.AnswerTimeout = time.Second })
	s := newStranger(t, small)
	digest := testTopic.Digest()
	host, meet := wtproto.Host{}.Append(nil), s.meet(h).Append(nil)
	flood := slices.Repeat(wtproto.Endpoints{Digest: digest, Endpoints: []wtproto.EndpointID{nativeEndpoint}}.Append(nil), 1000)
	for _, tc := range []struct {
		name string
		send []byte
		fin  bool
		met  bool // on a link on which the two have met
		want wtproto.Code
	}{
		{"another frame first", wtproto.Endpoints{}.Append(nil), false, false, wtproto.CodeProtocol},
		{"MEET first", meet, false, false, wtproto.CodeProtocol},
		{"an unknown frame first", []byte{0x3f, 0}, false, false, wtproto.CodeProtocol},
		{"a frame of a session", []byte{0x01, 0}, false, false, wtproto.CodeProtocol},
		{"too long", []byte{0x25, 0x80, 0, 0x40, 1}, false, false, wtproto.CodeTooLarge},
		{"short", []byte{0x25, 1, 0}, false, false, wtproto.CodeProtocol},
		{"cut", host[:10], true, false, wtproto.CodeProtocol},
		{"silent", host[:1], false, false, wtproto.CodeIdle},
		{"cut and silent", host[:10], false, false, wtproto.CodeIdle},
		{"HOST twice", host, false, true, wtproto.CodeProtocol},
		{"OPEN on a link", wtproto.Open{Digest: digest}.Append(nil), false, true, wtproto.CodeProtocol},
		{"MET without MEET", wtproto.Met{Digest: digest}.Append(nil), false, true, wtproto.CodeProtocol},
		{"too many endpoints", meetWith(65), false, true, wtproto.CodeTooLarge},
		{"a frame of a session on a link", []byte{0x0e, 8, 1, 2, 3, 4, 5, 6, 7, 8}, false, true, wtproto.CodeProtocol},
		{"short ENDPOINTS", []byte{0x22, 1, 0}, false, true, wtproto.CodeProtocol},
		{"too many ENDPOINTS", flood, false, true, wtproto.CodeRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host := h
			if tc.want == wtproto.CodeIdle {
				host = hasty
			}
			st := s.open(host)
			if tc.met {
				g := listen(t, native) // each its own, as links replace each other
				join(t, g, discovery.Native(), nil)
				st = s.link(g, 0)
				write(t, st, s.meet(g).Append(nil))
				read(t, st, wtproto.TypeMet)
			}
			_, _ = st.Write(tc.send) // the end may come before all is sent
			if tc.fin {
				if err := st.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			wantReset(t, "the stream", st, tc.want)
		})
	}
	// A link skips what it does not know, and what it is not told in time.
	good := s.link(h, 0)
	write(t, good, []byte{0x3f, 2, 1, 2})
	write(t, good, wtproto.Endpoints{Digest: digest}.Append(nil))
	write(t, good, wtproto.Part{Digest: digest}.Append(nil))
	write(t, good, s.meet(h).Append(nil))
	read(t, good, wtproto.TypeMet)
	write(t, good, wtproto.Endpoints{Digest: digest}.Append(nil))
	eventually(t, "the last frame has arrived", func() bool {
		return look(h, s.ID(), func(r *remote) bool { return r.meeting && len(r.endpoints) == 0 })
	})
}

func meetWith(n int) []byte {
	return wtproto.Meet{Endpoints: make([]wtproto.EndpointID, n)}.Append(nil)
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
