package dat

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// relay is between a gateway and one server of UDP. It notes what the gateway says.
type relay struct {
	at   string
	mute atomic.Bool // the server's answers get lost

	mu   sync.Mutex
	said []saying // guarded by mu
}

type saying struct {
	data []byte
	when time.Time
}

// newRelay starts a relay to a server.
func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{at: front.LocalAddr().String()}
	var client atomic.Pointer[net.UDPAddr]
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := front.ReadFromUDP(b)
			if err != nil {
				return
			}
			client.Store(from)
			r.mu.Lock()
			r.said = append(r.said, saying{bytes.Clone(b[:n]), time.Now()})
			r.mu.Unlock()
			_, _ = back.Write(b[:n])
		}
	})
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			if to := client.Load(); to != nil && !r.mute.Load() {
				_, _ = front.WriteToUDP(b[:n], to)
			}
		}
	})
	t.Cleanup(func() {
		front.Close()
		back.Close()
		wg.Wait()
	})
	return r
}

// about returns what the gateway has said about a topic, and with these words.
func (r *relay) about(topic wtproto.Topic, words string) (all []saying) {
	r.mu.Lock()
	defer r.mu.Unlock()
	digits := []byte(hex.EncodeToString(topic[:20]))
	for _, s := range r.said {
		if (bytes.Contains(s.data, topic[:20]) || bytes.Contains(s.data, digits)) && bytes.Contains(s.data, []byte(words)) {
			all = append(all, s)
		}
	}
	return all
}

// await waits until the gateway has said something about a topic.
func (r *relay) await(t *testing.T, topic wtproto.Topic, words string) {
	t.Helper()
	gateway.Eventually(t, words, func() bool { return len(r.about(topic, words)) > 0 })
}

// LEAVE takes back what was announced, and ends all questions, also those that wait for their
// answers: a second later nobody hears of the topic any more.
func TestLeave(t *testing.T) {
	t.Parallel()
	_, dnsAt := dnsServer(t)
	_, dhtAt := dhtNode(t)
	dns, dht := newRelay(t, dnsAt), newRelay(t, dhtAt)
	c := start(t, ways{dns: dns.at, dht: dht.at}, dat.Config{})
	const within = time.Second
	const slack = time.Second // for a busy machine
	left := make(map[wtproto.Topic]time.Time)
	join := func(name string) (wtproto.Topic, *client.Topic) {
		topic := wtproto.TopicFromName(name)
		return topic, gateway.Join(t, c, topic, client.JoinOptions{Networks: []string{"dat"}})
	}
	leave := func(topic wtproto.Topic, top *client.Topic) {
		left[topic] = time.Now()
		if err := top.Close(); err != nil {
			t.Fatal(err)
		}
	}
	topic, top := join("announced")
	dns.await(t, topic, "announce=")
	dht.await(t, topic, "announce_peer")
	leave(topic, top)
	dns.await(t, topic, "unannounce=")

	dns.mute.Store(true)
	dht.mute.Store(true)
	topic, top = join("asking")
	dns.await(t, topic, "announce=")
	dht.await(t, topic, "get_peers")
	leave(topic, top)

	time.Sleep(within + slack + 3*time.Second) // a question without an answer is asked again within 4 s
	for topic, at := range left {
		for name, r := range map[string]*relay{"dns-discovery": dns, "the DHT": dht} {
			all := r.about(topic, "")
			if len(all) == 0 {
				t.Errorf("%s has not heard of the topic", name)
			}
			for _, s := range all {
				if late := s.when.Sub(at); late > within+slack {
					t.Errorf("%s heard of the topic %v after LEAVE: %q", name, late, s.data)
				}
			}
		}
		if n := len(dns.about(topic, "unannounce=")); n == 0 {
			t.Errorf("dns-discovery was not told that the topic was left")
		}
	}
}

// grants gives each token the networks that it names.
type grants map[string][]string

func (g grants) Authorize(_ context.Context, r auth.Request) (auth.Grant, error) {
	return auth.Grant{Networks: g[string(r.Token)]}, nil
}

// A grant that lists networks has to list those of old peers, by which strangers see the topic.
func TestGrantNamesTheNetwork(t *testing.T) {
	t.Parallel()
	_, dnsAt := dnsServer(t)
	dns := newRelay(t, dnsAt)
	g := startGateway(t, ways{dns: dns.at}, dat.Config{}, server.Config{
		Authorizer: grants{"none": {"client"}, "dat": {"client", "dat"}, "all": nil},
	})
	for token, tc := range map[string]struct{ allowed, refused []string }{
		"none": {nil, []string{"dat", "discovery-swarm"}},
		"dat":  {[]string{"dat"}, []string{"discovery-swarm"}},
		"all":  {[]string{"dat", "discovery-swarm"}, nil},
	} {
		c := g.Dial(t, client.Config{Token: []byte(token)})
		for _, network := range tc.refused {
			topic := wtproto.TopicFromName(token + network)
			_, err := c.Join(gateway.Context(t), topic, client.JoinOptions{Networks: []string{network}})
			if code, _ := gateway.Code(err); code != wtproto.CodeForbidden {
				t.Errorf("token %s, %s alone: %v, want FORBIDDEN", token, network, err)
			}
			gateway.Join(t, c, topic, client.JoinOptions{Networks: []string{"client", network}})
		}
		gateway.Join(t, c, wtproto.TopicFromName(token), client.JoinOptions{}) // by default on neither
		for _, network := range tc.allowed {
			topic := wtproto.TopicFromName(token + network)
			top := gateway.Join(t, c, topic, client.JoinOptions{Networks: []string{"dat", "discovery-swarm"}})
			dns.await(t, topic, "subscribe")
			s := gateway.Status(t, top, "networks", func(s client.Status) bool { return len(s.Networks) > 0 })
			names := make(map[string]bool)
			for _, n := range s.Networks {
				names[n.Name] = n.State != wtproto.NetworkEnded
			}
			if names["dat"] != slices.Contains(tc.allowed, "dat") || names["discovery-swarm"] != slices.Contains(tc.allowed, "discovery-swarm") {
				t.Errorf("token %s: networks %v", token, names)
			}
		}
		if all := dns.about(wtproto.TopicFromName(token), ""); len(all) > 0 {
			t.Errorf("token %s: strangers have heard of a topic that is not on these networks", token)
		}
		for _, network := range tc.refused {
			if all := dns.about(wtproto.TopicFromName(token+network), ""); len(all) > 0 {
				t.Errorf("token %s: strangers have heard of a topic that may not be on %s", token, network)
			}
		}
	}
}
