package server

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// grants is an authorizer that knows grants by token.
type grants map[string]auth.Grant

func (g grants) Authorize(_ context.Context, r auth.Request) (auth.Grant, error) {
	grant, ok := g[string(r.Token)]
	if !ok {
		return grant, wtproto.Errorf(wtproto.CodeUnauthorized, "no such token")
	}
	return grant, nil
}

// authorizer is a function that decides.
type authorizer func(ctx context.Context, r auth.Request) (auth.Grant, error)

func (a authorizer) Authorize(ctx context.Context, r auth.Request) (auth.Grant, error) {
	return a(ctx, r)
}

// show opens the control stream with HELLO and a token.
func (c *fakeClient) show(token string) {
	c.t.Helper()
	c.control = c.link.dial()
	c.frames = wtproto.NewReader(c.control)
	c.send(wtproto.Hello{Version: 1, Credit: 1 << 40, Secret: c.secret, Agent: "test", Token: []byte(token)})
}

// enter returns a client that has been welcomed with a token.
func (g *bubble) enter(token string) (*fakeClient, wtproto.Welcome) {
	g.t.Helper()
	c := g.dial()
	c.show(token)
	return c, expect[wtproto.Welcome](c)
}

// What the authorizer is told, and what a client is told for each of its answers. Nobody is asked
// about an origin that is not allowed.
func TestAuthorizer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		origin string
		grant  auth.Grant
		err    error
		want   wtproto.Code // INTERNAL is what the client is told of any other error
		asked  int
	}{
		{"allowed", "https://a.example", auth.Grant{}, nil, wtproto.CodeNone, 1},
		{"unauthorized", "", auth.Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "no"), wtproto.CodeUnauthorized, 1},
		{"expired by its word", "", auth.Grant{}, wtproto.Errorf(wtproto.CodeTokenExpired, "no"), wtproto.CodeTokenExpired, 1},
		{"expired by its grant", "", auth.Grant{Expires: time.Unix(1, 0)}, nil, wtproto.CodeTokenExpired, 1},
		{"later", "", auth.Grant{}, wtproto.Errorf(wtproto.CodeBusy, "no"), wtproto.CodeBusy, 1},
		{"a grant that makes no sense", "", auth.Grant{Name: "a\nb"}, nil, wtproto.CodeInternal, 1},
		{"another origin", "https://b.example", auth.Grant{}, nil, wtproto.CodeForbidden, 0},
	} {
		asked := 0
		cfg := Config{Origins: []string{"https://a.example"}, Authorizer: authorizer(func(_ context.Context, r auth.Request) (auth.Grant, error) {
			asked++
			if string(r.Token) != "t" || r.Origin != tt.origin || r.Address.String() != "192.0.2.1" || r.Transport != "fake" || r.Agent != "test" {
				t.Errorf("%s: asked about %+v", tt.name, r)
			}
			return tt.grant, tt.err
		})}
		inBubble(t, cfg, func(t *testing.T, g *bubble) {
			c := g.dialFrom(tt.origin)
			if tt.asked > 0 { // else the session may have ended already
				c.show("t")
			}
			if tt.want == wtproto.CodeNone {
				expect[wtproto.Welcome](c)
			} else {
				c.ends(tt.want)
			}
			if asked != tt.asked {
				t.Errorf("%s: asked %d times, want %d", tt.name, asked, tt.asked)
			}
		})
	}
}

// An authorizer that does not answer has as long as HELLO had, and the client is told to come back
// later. It is not asked for long for a client that has gone.
func TestAuthorizerHangs(t *testing.T) {
	cfg := Config{Authorizer: authorizer(func(ctx context.Context, _ auth.Request) (auth.Grant, error) {
		<-ctx.Done()
		return auth.Grant{}, errors.New("gave up")
	})}
	inBubble(t, cfg, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.show("")
		start := time.Now()
		c.ends(wtproto.CodeBusy)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %v, want 5s", took)
		}
	})
}

// A session ends at the moment at which its grant does, and not before.
func TestGrantExpires(t *testing.T) {
	inBubble(t, Config{Authorizer: authorizer(func(context.Context, auth.Request) (auth.Grant, error) {
		return auth.Grant{Expires: time.Now().Add(90 * time.Second)}, nil
	})}, func(t *testing.T, g *bubble) {
		start := time.Now()
		c, _ := g.enter("")
		for range 8 {
			pass(10 * time.Second)
			c.lives()
		}
		c.ends(wtproto.CodeTokenExpired)
		if lived := time.Since(start); lived != 90*time.Second {
			t.Errorf("the session lived for %v, want 90s", lived)
		}
	})
}

// WELCOME tells the limits that the session really has.
func TestGrantLimitsInWelcome(t *testing.T) {
	for _, tt := range []struct {
		cfg              Config
		limits           auth.Limits
		topics, circuits uint64
	}{
		{Config{}, auth.Limits{}, 64, 256},
		{Config{}, auth.Limits{Topics: 2, Circuits: 3}, 2, 3},
		{Config{}, auth.Limits{Topics: 1000, Circuits: 1000}, 64, 256},
		{Config{}, auth.Limits{Topics: -1, Circuits: -1}, 64, 256},
		{Config{MaxTopics: -1, MaxCircuits: -1}, auth.Limits{}, 0, 0},
		{Config{MaxTopics: -1, MaxCircuits: -1}, auth.Limits{Topics: 2, Circuits: 3}, 2, 3},
	} {
		tt.cfg.Authorizer = grants{"": {Limits: tt.limits}}
		inBubble(t, tt.cfg, func(t *testing.T, g *bubble) {
			if _, w := g.enter(""); w.MaxTopics != tt.topics || w.MaxCircuits != tt.circuits {
				t.Errorf("%+v: WELCOME tells %d and %d, want %d and %d", tt.limits, w.MaxTopics, w.MaxCircuits, tt.topics, tt.circuits)
			}
		})
	}
}

// The sessions of a name share its limits, wherever they come from.
func TestGrantLimitsOfAName(t *testing.T) {
	inBubble(t, Config{Authorizer: grants{
		"a1": {Name: "a", Limits: auth.Limits{Sessions: 2, Topics: 3}}, "a2": {Name: "a", Limits: auth.Limits{Sessions: 2, Topics: 3}}, "b": {Name: "b"},
	}}, func(t *testing.T, g *bubble) {
		one, _ := g.enter("a1")
		two, _ := g.enter("a2")
		third := g.dial()
		third.show("a1")
		third.ends(wtproto.CodeRateLimited)
		other, _ := g.enter("b")
		topic := func(n byte) wtproto.Topic { return wtproto.Topic{n} }
		one.send(wtproto.Join{Topic: topic(1)}, wtproto.Join{Topic: topic(2)})
		expect[wtproto.Joined](one)
		expect[wtproto.Joined](one)
		two.send(wtproto.Join{Topic: topic(3)}, wtproto.Join{Topic: topic(4)})
		expect[wtproto.Joined](two)
		if l := expect[wtproto.Left](two); l.Code != wtproto.CodeTopicLimit || l.Topic != topic(4) {
			t.Errorf("the fourth topic of a name: %+v", l)
		}
		other.send(wtproto.Join{Topic: topic(4)})
		expect[wtproto.Joined](other)
	})
}

// What a grant says of topics and of announcing holds for each JOIN.
func TestGrantOfTopics(t *testing.T) {
	const both = announceAndLookUp
	for _, tt := range []struct {
		name  string
		grant auth.Grant
		flags wtproto.JoinFlags
		want  wtproto.Code
		seen  wtproto.JoinFlags // what the networks are told
	}{
		{"all", auth.Grant{}, both, wtproto.CodeNone, both},
		{"this topic", auth.Grant{Topics: []auth.TopicPrefix{{1}, wowcool[:]}}, both, wtproto.CodeNone, both},
		{"a prefix", auth.Grant{Topics: []auth.TopicPrefix{wowcool[:4]}}, both, wtproto.CodeNone, both},
		{"another topic", auth.Grant{Topics: []auth.TopicPrefix{{1}}}, both, wtproto.CodeForbidden, 0},
		{"no topic", auth.Grant{Topics: []auth.TopicPrefix{}}, both, wtproto.CodeForbidden, 0},
		{"no announcing", auth.Grant{DenyAnnounce: true}, both, wtproto.CodeNone, wtproto.JoinLookUp},
		{"no looking up", auth.Grant{DenyLookUp: true}, both, wtproto.CodeNone, wtproto.JoinAnnounce},
		{"nothing but what is denied", auth.Grant{DenyAnnounce: true}, wtproto.JoinAnnounce | wtproto.JoinOfferOnly, wtproto.CodeForbidden, 0},
		{"neither", auth.Grant{DenyAnnounce: true, DenyLookUp: true}, both, wtproto.CodeForbidden, 0},
		{"nothing asked for", auth.Grant{DenyAnnounce: true, DenyLookUp: true}, 0, wtproto.CodeNone, 0},
	} {
		inBubble(t, Config{Authorizer: grants{"": tt.grant}}, func(t *testing.T, g *bubble) {
			c, _ := g.enter("")
			c.send(wtproto.Join{Topic: wowcool, Flags: tt.flags})
			if tt.want != wtproto.CodeNone {
				if l := expect[wtproto.Left](c); l.Code != tt.want || l.Topic != wowcool || l.Reason == "" {
					t.Errorf("%s: %+v, want %v", tt.name, l, tt.want)
				}
				synctest.Wait()
				if n := len(g.lan.all()); n != 0 {
					t.Errorf("%s: the network was asked for %d topics", tt.name, n)
				}
				c.lives()
				return
			}
			expect[wtproto.Joined](c)
			pass(2 * time.Second)
			state := g.lan.state()
			if state.Announce != (tt.seen&wtproto.JoinAnnounce != 0) || state.LookUp != (tt.seen&wtproto.JoinLookUp != 0) {
				t.Errorf("%s: the network is told %+v, want %v", tt.name, state, tt.seen)
			}
		})
	}
}

// A JOIN that changes the options to what is denied ends the subscription, with one LEFT.
func TestGrantOfChangedOptions(t *testing.T) {
	inBubble(t, Config{Authorizer: grants{"": {DenyAnnounce: true}}}, func(t *testing.T, g *bubble) {
		c, _ := g.enter("")
		c.join(announceAndLookUp, 0)
		c.send(wtproto.Join{Topic: wowcool, Flags: wtproto.JoinAnnounce})
		if l := expect[wtproto.Left](c); l.Code != wtproto.CodeForbidden {
			t.Errorf("%+v, want FORBIDDEN", l)
		}
		c.send(wtproto.Leave{Topic: wowcool})
		c.lives()
		c.quiet()
		c.join(wtproto.JoinLookUp, 0)
	})
}

// A client is connected with peers of the networks that its grant names, sees no others, and is
// shown to none.
func TestGrantOfNetworks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		networks []string
		lan, mate,
		inbound bool
	}{
		{"all", nil, true, true, true},
		{"lan", []string{"lan"}, true, false, true},
		{"clients", []string{"client"}, false, true, false},
		{"another", []string{"dht"}, false, false, false},
		{"none", []string{}, false, false, false},
	} {
		inBubble(t, Config{Authorizer: grants{"bound": {Networks: tt.networks}, "free": {}, "stays": {Networks: []string{"lan"}}}}, func(t *testing.T, g *bubble) {
			stays, _ := g.enter("stays") // for whom the topic is on the network, whatever the other may have
			stays.join(0, 0)
			c, _ := g.enter("bound")
			c.join(announceAndLookUp, 0)
			p := g.lan.peer("p")
			pass(2 * time.Second)
			g.lan.see(p.sighting())
			pass(2 * time.Second)
			if got := len(p.dialed()) > 0; got != tt.lan {
				t.Errorf("%s: a peer on the LAN was dialed: %v, want %v", tt.name, got, tt.lan)
			}
			q := g.lan.peer("q")
			in := q.inbound(c.endpoint())
			g.lan.see(in.sighting(time.Minute))
			pass(time.Second)
			accepted, refused := in.answer()
			if (accepted == 1) != tt.inbound || !tt.inbound && (len(refused) != 1 || refused[0] != wtproto.CodeDeclined) {
				t.Errorf("%s: a peer that dialed: %d circuits, refused with %v, want %v", tt.name, accepted, refused, tt.inbound)
			}
			before := c.streams()
			mate, _ := g.enter("free")
			mate.join(announceAndLookUp, 0)
			pass(2 * time.Second)
			if got := c.streams() > before; got != tt.mate {
				t.Errorf("%s: connected with another client: %v, want %v", tt.name, got, tt.mate)
			}
			status := c.status()
			for _, n := range status.Networks {
				allowed := n.Name == "lan" && tt.lan || n.Name == wtproto.NetworkClient && tt.mate
				if left := n == leftOut(n.Name); left == allowed {
					t.Errorf("%s: STATUS tells of %+v, want that the token leaves it out: %v", tt.name, n, !allowed)
				}
			}
			if !tt.lan && !tt.mate && status.Known != 0 {
				t.Errorf("%s: STATUS tells of %d endpoints", tt.name, status.Known)
			}
		})
	}
}

// A principal's circuits together carry so many bytes a second, both ways; those of others are not
// held up.
func TestGrantOfBytesPerSecond(t *testing.T) {
	const perSecond = 64 << 10
	inBubble(t, Config{Authorizer: grants{"slow": {Name: "slow", Limits: auth.Limits{BytesPerSecond: perSecond}}, "fast": {}}}, func(t *testing.T, g *bubble) {
		slow, _ := g.enter("slow")
		slow.join(announceAndLookUp, 0)
		fast, _ := g.enter("fast")
		fast.join(announceAndLookUp, 0)
		other, _ := g.enter("fast")
		other.join(announceAndLookUp, 0)
		var toSlow, toOther fakeCircuit
		for range 2 {
			if c := fast.circuit(); string(c.ID) == string(idOf(slow)) {
				toSlow = c
			} else {
				toOther = c
			}
		}
		slowEnd := slow.circuit()
		if string(slowEnd.ID) != string(idOf(fast)) {
			slowEnd = slow.circuit()
		}
		go copyAll(toSlow)
		go copyAll(toOther)
		start := time.Now()
		const whole = 10 * perSecond
		for sent := 0; sent < whole; sent += 1 << 10 { // what slow sends
			if _, err := slowEnd.Write(make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
		}
		slowEnd.CloseWrite()
		if took := time.Since(start); took < 7*time.Second || took > 11*time.Second { // all but a burst, and what waits in buffers
			t.Errorf("%d bytes took %v, want 7 to 11 s", whole, took)
		}
	})
}

func idOf(c *fakeClient) []byte {
	e := c.endpoint()
	return e[:]
}

// copyAll takes all that comes on a circuit.
func copyAll(c fakeCircuit) { io.Copy(io.Discard, c) }

// A name whose bytes are used up has its session ended with FORBIDDEN, and comes in no more; the
// other ends lose their peer. All its sessions count together, and what they used is remembered
// after their end.
func TestGrantOfBytes(t *testing.T) {
	observed := &witness{}
	inBubble(t, Config{Observer: observed.observer(), Authorizer: grants{"few": {Name: "few", Limits: auth.Limits{Bytes: 1000}}, "": {}}}, func(t *testing.T, g *bubble) {
		for round := range 2 {
			few, _ := g.enter("few")
			few.join(announceAndLookUp, 0)
			mate, _ := g.enter("")
			mate.join(announceAndLookUp, 0)
			a, b := few.circuit(), mate.circuit()
			talk(t, a, b) // 13 bytes
			if _, err := a.Write(make([]byte, 480)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := io.ReadFull(b, make([]byte, 480)); err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				few.control.CloseWrite()
				mate.control.CloseWrite()
				pass(time.Minute)
				continue
			}
			few.lives() // 986 bytes
			if _, err := b.Write(make([]byte, 15)); err != nil {
				t.Fatal(err)
			}
			few.ends(wtproto.CodeForbidden)
			wantReset(t, b.fakeStream, wtproto.CodePeerGone)
			mate.lives()
			again := g.dial()
			again.show("few")
			again.ends(wtproto.CodeForbidden)
		}
	})
}

// One address that asks the authorizer for much keeps nobody else from an answer.
func TestAuthorizingOfOneAddress(t *testing.T) {
	var answer chan struct{}
	ask := authorizer(func(ctx context.Context, r auth.Request) (auth.Grant, error) {
		if string(r.Token) != "slow" {
			return auth.Grant{}, nil
		}
		select {
		case <-answer:
		case <-ctx.Done():
		}
		return auth.Grant{}, ctx.Err()
	})
	inBubble(t, Config{Authorizer: ask, HelloTimeout: time.Minute}, func(t *testing.T, g *bubble) {
		answer = make(chan struct{})
		var waiting []*fakeClient
		for range authorizingOfAddress {
			c := g.dial()
			c.show("slow")
			waiting = append(waiting, c)
		}
		synctest.Wait()
		more := g.dial()
		more.show("good")
		more.ends(wtproto.CodeBusy)
		l := newFakeLink()
		l.from = net.IPv4(198, 51, 100, 7)
		other := g.dialOver(l)
		other.show("good")
		expect[wtproto.Welcome](other)
		close(answer)
		for _, c := range waiting {
			expect[wtproto.Welcome](c)
		}
		g.enter("good")
	})
}
