package p2p

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// heard reports whether another host has asked h about the test topic by its tag.
func heard(h *Host, id peer.ID) bool {
	l := linkOf(h, id)
	return l != nil && h.links.askedAbout(l, testTopic.Guess([]byte(id), []byte(h.id), h.run))
}

// seenAt is where a host is, as the LAN tells it.
func seenAt(port int) []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port))}
}

// off has no DHT.
func off(c *Config) { c.Mode = Off }

// A host that is seen on the LAN, or met on another topic, was once sent the digests of all
// topics, so that whoever listened learned what others look for. Now it learns a number for each,
// which says nothing without the topic.
func TestGuessTellsStrangersNothing(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(gateway, off, key(small)))
	join(t, h, presence(true, true, endpoint(1)), nil)
	ignore(t, h, wtproto.TopicFromName("another"), presence(true, true, endpoint(1)))
	s := newStranger(t, large)
	frames := make(chan []byte, 8)
	types := make(chan wtproto.Type, 8)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		if !s.greet(st, 0) {
			return
		}
		for r := wtproto.NewReader(st); ; {
			typ, payload, err := r.Next()
			if err != nil {
				return
			}
			types <- typ
			frames <- append([]byte(nil), payload...)
		}
	})
	addr, _ := plainTCP(s.Addrs()[0])
	h.HostSeen(s.ID().String(), []netip.AddrPort{addr})
	want := map[wtproto.Tag]bool{
		testTopic.Guess([]byte(h.id), []byte(s.ID()), s.run()):                        true,
		wtproto.TopicFromName("another").Guess([]byte(h.id), []byte(s.ID()), s.run()): true,
	}
	for len(want) > 0 {
		if typ := <-types; typ != wtproto.TypeGuess {
			t.Fatalf("%v came, want nothing but %v", typ, wtproto.TypeGuess)
		}
		g, err := wtproto.ParseGuess(<-frames)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range g.Tags {
			delete(want, tag)
		}
	}
}

// Two hosts that have met on one topic meet on others without any DHT, whoever joins first, and
// know who found whom: those that only look up are for those that only announce.
func TestGuessOnOtherTopics(t *testing.T) {
	for _, aFirst := range []bool{true, false} {
		small, large := keys(t)
		b := listen(t, all(gateway, off, key(large)))
		a := listen(t, all(gateway, off, key(small), func(c *Config) {
			c.Static = map[wtproto.Topic][]string{wtproto.TopicFromName("first"): b.Addrs()}
		}))
		for _, h := range []*Host{a, b} {
			ignore(t, h, wtproto.TopicFromName("first"), presence(true, true, endpoint(1)))
		}
		eventually(t, "they have met", func() bool { return metWith(a, b.id) == 1 && metWith(b, a.id) == 1 })
		looks, announces := presence(false, true, endpoint(2)), presence(true, false, endpoint(3))
		var am, bm *member
		if aFirst {
			am = join(t, a, looks, nil)
			eventually(t, "the guess has arrived", func() bool { return heard(b, a.id) })
			bm = join(t, b, announces, nil)
		} else {
			bm = join(t, b, announces, nil)
			am = join(t, a, looks, nil)
		}
		if s := am.await("the other gateway's client", isPeer(b, endpoint(3))).sighting; s.PeerFoundUs {
			t.Error("the host that guessed was found")
		}
		if s := bm.await("the other gateway's client", isPeer(a, endpoint(2))).sighting; !s.PeerFoundUs {
			t.Error("the host that did not look up has found")
		}
	}
}

// Who does not let itself be found is not found by a guess.
func TestGuessOfWhoDoesNotAnnounce(t *testing.T) {
	a, b := listen(t, all(gateway, off)), listen(t, all(gateway, off))
	am := join(t, a, presence(false, true, endpoint(1)), nil)
	p := presence(false, true, endpoint(2))
	join(t, b, p, nil)
	a.HostSeen(b.ID(), seenAt(b.Port()))
	eventually(t, "the guess has arrived", func() bool { return heard(b, a.id) })
	if look(b, a.id, func(*remote) bool { return true }) {
		t.Error("it was answered")
	}
	p.Set(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{endpoint(2)}})
	am.await("the other gateway's client", isPeer(b, endpoint(2)))
}

// Of two hosts that share many topics and know of one of them, both are soon on all.
func TestGuessManyTopics(t *testing.T) {
	const topics = 300
	name := func(i int) wtproto.Topic { return wtproto.TopicFromName(fmt.Sprint("common topic ", i)) }
	b := listen(t, all(gateway, off))
	a := listen(t, all(gateway, off, func(c *Config) {
		c.Static = map[wtproto.Topic][]string{name(0): b.Addrs()}
	}))
	for i := range topics {
		ignore(t, a, name(i), presence(true, true, endpoint(1)))
		ignore(t, b, name(i), presence(true, true, endpoint(2)))
	}
	eventually(t, "they have met on all", func() bool { return metWith(a, b.id) == topics && metWith(b, a.id) == topics })
}

// A host may ask by tags so fast and no faster, and what it asked is remembered as long as there
// is room.
func TestGuessLimits(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(off, key(large)))
	join(t, h, presence(true, false, nativeEndpoint), nil)
	s := newStranger(t, small)
	st := s.link(h, 0)
	tag := testTopic.Guess([]byte(s.ID()), []byte(h.id), h.run)
	many := wtproto.Guess{Tags: make([]wtproto.Tag, wtproto.MaxTags)}
	for i := range many.Tags {
		many.Tags[i] = wtproto.Tag{1, byte(i >> 8), byte(i)}
	}
	write(t, st, many.Append(wtproto.Guess{Tags: []wtproto.Tag{tag}}.Append(nil)))
	meet, err := wtproto.ParseMeet(read(t, st, wtproto.TypeMeet))
	if err != nil || meet.Digest != testTopic.Digest() || meet.Flags != wtproto.MeetGuessed {
		t.Errorf("MEET = %+v, %v, want the topic that was guessed, and flag 1", meet, err)
	}
	l := linkOf(h, s.ID())
	for range 1000 {
		if _, err := st.Write(many.Append(nil)); err != nil {
			break
		}
	}
	wantReset(t, "the link", st, wtproto.CodeRateLimited)
	if n := len(l.guesses.tags) + len(l.guesses.olderTags); n > maxTags { // the link has ended
		t.Errorf("%d tags are remembered", n)
	}
}

// A stranger that opened one link after the other had a tag computed for each topic each time. Now
// what is computed for strangers has a rate, and who has to wait is answered later.
func TestGuessOfStrangersHasARate(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(off, key(large)))
	join(t, h, presence(true, false, nativeEndpoint), nil)
	h.links.strangers.SetLimit(0)
	h.links.strangers.AllowN(time.Now(), strangerBurst-1) // all but one
	s := newStranger(t, small)
	tag := wtproto.Guess{Tags: []wtproto.Tag{testTopic.Guess([]byte(s.ID()), []byte(h.id), h.run)}}
	first := s.link(h, 0)
	write(t, first, tag.Append(nil))
	read(t, first, wtproto.TypeMeet)
	second := s.link(h, 0)
	write(t, second, tag.Append(nil))
	if err := second.SetReadDeadline(time.Now().Add(2 * guessEvery)); err != nil {
		t.Fatal(err)
	}
	if typ, _, err := wtproto.NewReader(second).Next(); err == nil {
		t.Fatalf("%v came before there was room for more tags", typ)
	}
	if err := second.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	h.links.strangers.SetLimit(strangerRate)
	read(t, second, wtproto.TypeMeet)
}
