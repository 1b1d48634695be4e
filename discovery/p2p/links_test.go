package p2p

import (
	"errors"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"

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
	gm.await("the native peer", isPeer(n, nobody))
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
	join(t, g, presence(true, true, endpoint(1)), nil).await("the native peer", isPeer(n, nobody))
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
// waited for it. It may ask about so many before it has read the answers, and is told when it does not.
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
