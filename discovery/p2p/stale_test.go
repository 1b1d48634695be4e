package p2p

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A host that was asked to meet ended the meeting, was forgotten while others were found, and only
// then answered: it was met, but the topic did not know it, and when it was to be asked again the
// gateway crashed.
func TestForgottenHostAnswers(t *testing.T) {
	h := listen(t, all(gateway, off, func(c *Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour }))
	join(t, h, presence(true, true, endpoint(1)), nil)
	s := newStranger(t, nil)
	link := s.link(h, wtproto.HostGateway)
	write(t, link, s.meet(h, endpoint(7)).Append(nil))
	read(t, link, wtproto.TypeMet)
	tp := h.topicOf(testTopic.Digest())
	tp.addTarget(target{id: s.ID(), network: networkDHT})
	read(t, link, wtproto.TypeMeet)
	write(t, link, wtproto.Part{Digest: tp.digest}.Append(nil))
	eventually(t, "it is met no more, and forgotten", func() bool {
		tp.mu.Lock()
		defer tp.mu.Unlock()
		a := tp.meetings.known[s.ID()]
		if a.stand != standApart {
			return false
		}
		tp.meetings.drop(a)
		return true
	})
	write(t, link, s.met(h, endpoint(7)).Append(nil))
	eventually(t, "its answer came", func() bool {
		h.links.mu.Lock()
		defer h.links.mu.Unlock()
		return len(h.links.hosts[s.ID()].asked) == 0
	})
	tp.mu.Lock()
	for id := range tp.meetings.known {
		if tp.hosts[id] == nil {
			t.Errorf("%s may be asked, and the topic does not know it", id)
		}
	}
	tp.mu.Unlock()
	link.SetReadDeadline(time.Now().Add(patience))
	read(t, link, wtproto.TypePart)
}

// Endpoints that had left were held against a host that tells of a sample only: it cannot say of
// those that are not in it any more.
func TestEndpointsOfAnOlderSample(t *testing.T) {
	small, _ := keys(t)
	h := listen(t, all(gateway, off, key(small)))
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	s := newStranger(t, nil)
	for s.ID() < h.id {
		s = newStranger(t, nil)
	}
	s.SetStreamHandler(wtproto.HostProtocol, refuseOpens(wtproto.CodePeerUnreachable))
	link := s.link(h, wtproto.HostGateway)
	meet := s.meet(h, endpoints(wtproto.MaxEndpoints)...)
	meet.State = wtproto.EndpointsMore
	write(t, link, meet.Append(nil))
	read(t, link, wtproto.TypeMet)
	var old []item
	for len(old) < lieBurst+1 {
		old = append(old, m.await("an endpoint", func(i item) bool { return i.sighting.Dial != nil }))
	}
	write(t, link, wtproto.Endpoints{
		Digest: meet.Digest, State: wtproto.EndpointsMore, Endpoints: []wtproto.EndpointID{endpoint(999)},
	}.Append(nil))
	eventually(t, "the next sample came", func() bool {
		return look(h, s.ID(), func(r *remote) bool { return r.endpoints[endpoint(999)] })
	})
	for _, i := range old {
		_, err := i.sighting.Dial(t.Context(), endpoint(1))
		wantCode(t, "Dial", err, wtproto.CodePeerUnreachable, true)
	}
	if err := h.links.shunned(s.ID()); err != nil {
		t.Errorf("it is left alone: %v", err)
	}
}

// Two gateways with more common topics than they may meet on asked each other for all of them at
// once: each took that for a flood, and left the other one alone.
func TestTopicsAboveTheLimitAreNotAskedFor(t *testing.T) {
	h := listen(t, all(gateway, off))
	join(t, h, presence(true, true, endpoint(1)), nil)
	s := newStranger(t, nil)
	s.link(h, wtproto.HostGateway)
	eventually(t, "there is a link", func() bool { return linkOf(h, s.ID()) != nil })
	tp := h.topicOf(testTopic.Digest())
	h.links.mu.Lock()
	n := h.links.hosts[s.ID()]
	for i := range maxLinkTopics {
		n.meetings[[32]byte{byte(i >> 8), byte(i)}] = &remote{t: tp}
	}
	h.links.mu.Unlock()
	tp.addTarget(target{id: s.ID(), network: networkDHT})
	eventually(t, "it was not asked", func() bool {
		return look(h, s.ID(), func(r *remote) bool { return codeOf(r.failure) == wtproto.CodeTopicLimit && !r.asking })
	})
	h.links.mu.Lock()
	if len(n.asked)+len(n.wants) != 0 {
		t.Errorf("%d are asked, %d are to be", len(n.asked), len(n.wants))
	}
	clear(n.meetings)
	h.links.mu.Unlock()
}

// A frame that was just being written when a link was ended took away the timer that ends it if
// the other host does not.
func TestUnusedLinkEndsWithoutTheOther(t *testing.T) {
	h := listen(t, all(gateway, off, func(c *Config) { c.AnswerTimeout = 3 * time.Second }))
	s := newStranger(t, nil)
	s.link(h, wtproto.HostGateway)
	eventually(t, "there is a link", func() bool { return linkOf(h, s.ID()) != nil })
	l := linkOf(h, s.ID())
	h.links.rest(l)
	h.links.progress(l)
	eventually(t, "the stream has ended", func() bool { return streamsWith(h, s.ID()) == 0 })
}

// slowSender is a host of the DHT that takes each message just in time.
type slowSender struct{ pb.MessageSender }

func (slowSender) SendMessage(ctx context.Context, _ peer.ID, _ *pb.Message) error {
	select {
	case <-time.After(putTimeout - time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// One host of the DHT that took its time held up a sweep of 512 topics for 77 minutes, in which
// none of them was announced anew to anybody.
func TestSlowHostHoldsUpNoSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := pb.NewProtocolMessenger(slowSender{})
		if err != nil {
			t.Fatal(err)
		}
		keys := make([]multihash.Multihash, maxSweep)
		for i := range keys {
			keys[i] = recordKey([32]byte{byte(i)}).Hash()
		}
		us := peer.AddrInfo{ID: "us", Addrs: []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/tcp/4434")}}
		began := time.Now()
		taken := (&table{messenger: m}).putAll(t.Context(), []peer.ID{"slow"}, keys, us)
		if took := time.Since(began); took > provideLimit {
			t.Errorf("it took %v", took)
		}
		if !taken[0] || taken[maxSweep-1] {
			t.Errorf("the first was taken: %v, the last: %v", taken[0], taken[maxSweep-1])
		}
	})
}
