package p2p

import (
	"testing"

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
	if words, end, err := h.links.take(l); len(words) != maxUnread || end || err != nil {
		t.Errorf("take = %d frames, %v, %v, want %d", len(words), end, err, maxUnread)
	}
	for range maxUnread + 1 {
		h.links.say(l, word{typ: wtproto.TypeMet})
	}
	_, _, err := h.links.take(l)
	wantCode(t, "take", err, wtproto.CodeBusy, false)
	if len(l.queue) > maxUnread {
		t.Errorf("%d frames wait", len(l.queue))
	}
}
