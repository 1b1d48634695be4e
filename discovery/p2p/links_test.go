package p2p

import (
	"crypto/ed25519"
	"errors"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A link that nobody needs ends, which is no fault and no departure, and there is another one
// when it is needed.
func TestUnusedLinkEnds(t *testing.T) {
	n := listen(t, all(native, off))
	g := listen(t, all(gateway, off, func(c *Config) {
		c.Static = map[wtproto.Topic][]string{testTopic: n.Addrs()}
	}))
	nm := join(t, n, discovery.Native(), nil)
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	gm.await("the native peer", isPeer(n, nativeEndpoint))
	l := linkOf(g, n.id)
	g.links.rest(l)
	if linkOf(g, n.id) != l {
		t.Fatal("a link that is needed has ended")
	}
	gm.leave()
	nm.leave()
	g.links.rest(l)
	if linkOf(g, n.id) != nil {
		t.Error("a link that nobody needs is still there")
	}
	eventually(t, "the other host has ended it too", func() bool { return linkOf(n, g.id) == nil && streamsWith(n, g.id) == 0 })
	if g.links.shunned(n.id) != nil || n.links.shunned(g.id) != nil {
		t.Error("one of the two is blamed for it")
	}
	join(t, n, discovery.Native(), nil)
	join(t, g, presence(true, true, endpoint(1)), nil).await("the native peer", isPeer(n, nativeEndpoint))
}

// What a host does not read takes so much room and no more: its link ends.
func TestUnreadFrames(t *testing.T) {
	h := listen(t, off)
	l := &link{links: h.links, more: make(chan struct{}, 1)}
	for i := range maxUnread {
		h.links.say(l, word{typ: wtproto.TypeMet, digest: [32]byte{byte(i >> 8), byte(i)}})
	}
	l.closing = true
	for n := 0; n < maxUnread; n += chunkFrames {
		if words, end, err := h.links.take(l); len(words) != chunkFrames || end != (n+chunkFrames == maxUnread) || err != nil {
			t.Fatalf("take = %d frames, %v, %v after %d, want %d", len(words), end, err, n, chunkFrames)
		}
	}
	l.closing = false
	for range maxUnread + 1 {
		h.links.say(l, word{typ: wtproto.TypeMet})
	}
	_, _, err := h.links.take(l)
	wantCode(t, "take", err, wtproto.CodeBusy, false)
	if len(l.queue) > maxUnread {
		t.Errorf("%d frames wait", len(l.queue))
	}
}

// A host asked about topics that we are not on, and did not read the refusals: some 1.5 MB of them
// waited for it. It may ask about so many before it has read the answers, and is told when it does
// not.
func TestUnreadRefusals(t *testing.T) {
	h := listen(t, all(gateway, off))
	s := newStranger(t, nil)
	st := s.link(h, wtproto.HostGateway)
	eventually(t, "there is a link", func() bool { return linkOf(h, s.ID()) != nil })
	l := linkOf(h, s.ID())
	const asks = 12_000 // more than fit into the window of the stream and the queue, and fewer than are a flood
	var frames []byte
	for i := range asks {
		frames = wtproto.Meet{Digest: [32]byte{byte(i >> 8), byte(i)}}.Append(frames)
	}
	go func() { _, _ = st.Write(frames) }() // ends with the stream
	most := 0
	eventually(t, "the link has ended", func() bool {
		h.links.mu.Lock()
		defer h.links.mu.Unlock()
		most = max(most, len(l.queue), len(l.owed))
		return l.ended
	})
	if most > maxUnanswered {
		t.Errorf("%d refusals waited, want %d at most", most, maxUnanswered)
	}
	wantCode(t, "the host", h.links.shunned(s.ID()), wtproto.CodeBusy, false)
	_, err := io.Copy(io.Discard, st)
	e, ok := errors.AsType[*network.StreamError](err)
	if !ok || wtproto.Code(e.ErrorCode) != wtproto.CodeRateLimited {
		t.Errorf("the stream ended with %v, want %v", err, wtproto.CodeRateLimited)
	}
}

// Whoever asks about more topics than may be under way waits for answers, and asks about all.
func TestManyAsks(t *testing.T) {
	h := listen(t, all(gateway, off))
	s := newStranger(t, nil)
	st := s.link(h, wtproto.HostGateway)
	eventually(t, "there is a link", func() bool { return linkOf(h, s.ID()) != nil })
	const asks = 2*maxUnanswered + 10
	tp := enterFor(t, h, "many asks")
	h.links.mu.Lock()
	n := h.links.hosts[s.ID()]
	for i := range asks {
		n.wants[[32]byte{byte(i >> 8), byte(i)}] = want{r: &remote{t: tp, id: s.ID()}}
	}
	h.links.pumpLocked(n)
	underway := len(n.asked)
	h.links.mu.Unlock()
	if underway != maxUnanswered {
		t.Errorf("%d are asked about at once, want %d", underway, maxUnanswered)
	}
	frames := wtproto.NewReader(st)
	for range asks {
		typ, payload, err := frames.Next()
		if err != nil || typ != wtproto.TypeMeet {
			t.Fatalf("%v, %v, want MEET", typ, err)
		}
		m, err := wtproto.ParseMeet(payload)
		if err != nil {
			t.Fatal(err)
		}
		write(t, st, wtproto.Met{Digest: m.Digest, Code: wtproto.CodeForbidden}.Append(nil))
	}
}

// linkOf returns the link of h with another host, if there is one.
func linkOf(h *Host, id peer.ID) *link {
	h.links.mu.Lock()
	defer h.links.mu.Unlock()
	if n := h.links.hosts[id]; n != nil {
		return n.link
	}
	return nil
}

// wantReset fails unless st ends with a reset that has this code.
func wantReset(t testing.TB, what string, st network.Stream, code wtproto.Code) {
	t.Helper()
	_, err := io.ReadAll(st)
	if e, ok := errors.AsType[*network.StreamError](err); !ok || wtproto.Code(e.ErrorCode) != code {
		t.Errorf("%s ended with %v, want a reset with %v", what, err, code)
	}
}

// The same, step by step, with a stranger that decides when.
func TestTwoLinks(t *testing.T) {
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
			read(t, theirs, wtproto.TypeHost)
			ours := s.open(h)
			host := wtproto.Host{Run: s.run()}.Append(nil)
			write(t, ours, host)
			if tc.stays {
				wantReset(t, "the stranger's stream", ours, wtproto.CodeReplaced)
				ours = theirs
				write(t, ours, host)
			} else {
				wantReset(t, "the host's stream", theirs, wtproto.CodeReplaced)
				read(t, ours, wtproto.TypeHost)
			}
			read(t, ours, wtproto.TypeMeet)
			write(t, ours, s.meet(h).Append(s.met(h, nativeEndpoint).Append(nil)))
			if met, err := wtproto.ParseMet(read(t, ours, wtproto.TypeMet)); err != nil || met.Code != wtproto.CodeNone {
				t.Errorf("MET = %+v, %v", met, err)
			}
			m.awaitBoth(string(s.ID()))
			// A newer link replaces the older one, and that is no departure.
			newer := s.link(h, 0)
			wantReset(t, "the older stream", ours, wtproto.CodeReplaced)
			write(t, newer, s.meet(h).Append(nil))
			read(t, newer, wtproto.TypeMet)
			write(t, newer, wtproto.Endpoints{Digest: testTopic.Digest()}.Append(nil))
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
