package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// service is a plain TCP service, which cannot join anew.
func (n *fakeNetwork) service(id string) *fakePeer {
	p := n.peer(id)
	p.Service = &discovery.Service{Source: discovery.SourceConfigured}
	return p
}

// serviceEnds are the ways in which a service ends a circuit.
var serviceEnds = map[string]func(x, y *fakeStream){
	"FIN": func(x, y *fakeStream) {
		y.CloseWrite()
		synctest.Wait()
		x.CloseWrite()
	},
	"reset": func(_, y *fakeStream) { reset(y, wtproto.CodePeerReset) },
	"FIN, then reset, which a write meets": func(x, y *fakeStream) {
		y.CloseWrite()
		synctest.Wait()
		reset(y, wtproto.CodePeerReset)
		x.Write([]byte("x"))
	},
	"FIN, then reset by the client": func(x, y *fakeStream) {
		y.CloseWrite()
		synctest.Wait()
		reset(x, wtproto.CodeApplication)
	},
	"reset after the client's FIN": func(x, y *fakeStream) {
		x.CloseWrite()
		synctest.Wait()
		reset(y, wtproto.CodePeerReset)
	},
}

// A TCP service that was killed and started again was never connected to again: its end, by RST or
// FIN, held until one of the two joined anew, which it cannot.
func TestServiceThatRestarts(t *testing.T) {
	for name, end := range serviceEnds {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				c, p := g.connect(), g.lan.service("1")
				c.join(wtproto.JoinLookUp, 0)
				p.refuses(wtproto.CodePeerUnreachable) // for some time before it answers, which is over then
				g.lan.see(p.sighting())
				pass(10 * time.Minute)
				p.answers(nil)
				pass(2 * time.Minute)
				x, y := c.circuit(), p.circuit()
				for range 3 {
					talk(t, x, y)
					pass(2 * time.Minute)
					p.refuses(wtproto.CodePeerUnreachable)
					end(x.fakeStream, y)
					pass(2 * time.Second) // after 1s to 2s it is refused
					p.answers(nil)
					pass(2 * time.Second)
					x, y = c.circuit(), p.circuit()
				}
			})
		})
	}
}

// A service that ends circuits again and again is connected to less and less often by that client,
// and as before by others: whoever knows how to have it hang up would keep them from it.
func TestServiceThatEndsOften(t *testing.T) {
	for name, end := range serviceEnds {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: 100 * time.Hour}, func(t *testing.T, g *bubble) {
				c, p := g.connect(), g.lan.service("1")
				c.join(wtproto.JoinLookUp, 0)
				g.lan.see(p.sighting())
				for range 20 {
					x, y := c.circuit(), p.circuit()
					talk(t, x, y)
					end(x.fakeStream, y)
					synctest.Wait()
				}
				low := time.Second
				for i, gap := range gaps(p.dialed()) {
					if gap < low || gap > 2*low {
						t.Errorf("dial %d after %v, want %v to %v", i+2, gap, low, 2*low)
					}
					low = min(2*low, time.Minute)
				}
				other := g.joiners(1)[0]
				talk(t, other.circuit(), p.circuit())
			})
		})
	}
}

// A service that closes at once and says nothing costs what a refused dial costs, and is tried
// again as such a one. If the client's bytes are counted, it once was the client that had ended the
// circuit.
func TestServiceThatHangsUp(t *testing.T) {
	counted := grants{"": {Name: "counted", Limits: auth.Limits{Bytes: 1 << 30}}}
	for name, tt := range map[string]struct {
		hangUp     func(*fakeStream)
		authorizer Authorizer
	}{
		"FIN":                      {func(y *fakeStream) { y.CloseWrite() }, nil},
		"reset":                    {func(y *fakeStream) { reset(y, wtproto.CodePeerReset) }, nil},
		"FIN, bytes are counted":   {func(y *fakeStream) { y.CloseWrite() }, counted},
		"reset, bytes are counted": {func(y *fakeStream) { reset(y, wtproto.CodePeerReset) }, counted},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: 100 * time.Hour, Authorizer: tt.authorizer}, func(t *testing.T, g *bubble) {
				c, p := g.joiners(1)[0], g.lan.service("1")
				g.lan.see(p.sighting())
				for range 20 {
					x := c.circuit()
					tt.hangUp(p.circuit())
					synctest.Wait()
					x.CloseWrite()
					synctest.Wait()
				}
				low := time.Second
				for i, gap := range gaps(p.dialed()) {
					if gap < low || gap > 2*low {
						t.Errorf("dial %d after %v, want %v to %v", i+2, gap, low, 2*low)
					}
					low = min(2*low, time.Minute)
				}
				n := len(p.dialed())
				g.joiners(10)
				if more := len(p.dialed()) - n; more > 0 {
					t.Errorf("dialed %d times for others while it is backed off", more)
				}
			})
		})
	}
}

// What a client ends, or does not want, stays ended, with a service as with any peer.
func TestClientEndsCircuitWithService(t *testing.T) {
	for name, end := range map[string]func(c *fakeClient, x fakeCircuit, y *fakeStream){
		"FIN": func(_ *fakeClient, x fakeCircuit, y *fakeStream) {
			x.CloseWrite()
			synctest.Wait()
			y.CloseWrite()
		},
		"reset": func(_ *fakeClient, x fakeCircuit, _ *fakeStream) { reset(x.fakeStream, wtproto.CodeApplication) },
		"DECLINE after the service's FIN": func(c *fakeClient, x fakeCircuit, y *fakeStream) {
			y.CloseWrite()
			synctest.Wait()
			c.send(wtproto.Decline{Circuit: x.Circuit, Code: wtproto.CodeDeclined})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
				c, p := g.joiners(1)[0], g.lan.service("1")
				g.lan.see(p.sighting())
				x, y := c.circuit(), p.circuit()
				talk(t, x, y)
				end(c, x, y)
				pass(10 * time.Minute)
				if n := len(p.dialed()); n != 1 {
					t.Errorf("dialed %d times, want once", n)
				}
			})
		})
	}
}

// A service that refuses a client because the two are connected by another circuit, as peers of
// discovery-swarm do, was not dialed for that client again when that circuit had ended. It is still
// dialed for others, and nobody is charged.
func TestServiceThatIsConnected(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, p := g.connect(), g.lan.service("1")
		c.join(wtproto.JoinLookUp, 0)
		p.refuses(wtproto.CodeDeclined)
		g.lan.see(p.sighting())
		pass(10 * time.Minute)
		if n := len(p.dialed()); n < 5 || n > 20 {
			t.Errorf("%d dials in 10 min, want that they become fewer", n)
		}
		p.answers(nil)
		other := g.connect()
		other.join(wtproto.JoinLookUp, 0)
		pass(time.Millisecond)
		other.circuit()
		pass(retryMax + time.Minute)
		c.circuit()
		if n := len(p.ends); n != 2 {
			t.Errorf("%d circuits, want 2", n)
		}
	})
}
