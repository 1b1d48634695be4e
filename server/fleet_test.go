package server

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

var (
	fleetGateways = flag.Int("fleet-gateways", 8, "gateways of the fleet that is simulated")
	fleetClients  = flag.Int("fleet-clients", 200, "clients of it")
	fleetTopics   = flag.Int("fleet-topics", 20, "topics of it")
	fleetMinutes  = flag.Int("fleet-minutes", 2, "virtual minutes in which a tenth of its clients goes and others come, and one gateway dies, each")
)

const (
	// fleetSettle is how long after the last change each topic must be one mesh. A machine that
	// vanishes is missed after 35 s, what it told is forgotten a minute later, and a survey may
	// be 30 s away.
	fleetSettle = 5 * time.Minute
	fleetTick   = 200 * time.Millisecond
)

// fleet is a fleet of gateways with clients on topics, in virtual time.
type fleet struct {
	t        *testing.T
	rand     *rand.Rand
	net      *simNet
	gateways []*simGateway // that are alive
	hosts    []*simHost    // all that ever were
	clients  []*simClient  // that are there, or about to come back
	back     map[*simClient]time.Time
	popular  []float64 // topics: how many of all clients are on them and those before
	numbers  uint64
	joins    int
	frames   int             // sent to clients that are gone
	circuits int             // ends of circuits that those had
	firsts   []time.Duration // from JOIN to the first circuit
	rows     []string
}

// fleetLook is what is seen of a fleet at a moment.
type fleetLook struct {
	topics, whole  int // with clients; of these, those whose clients are one mesh
	clients, inOne int // that have a session; of these, those in the greatest part of their topic
	open, could    int // circuits of clients, and how many they could have
	full           int // clients that have as many as they could
	apart          []string
}

func newFleet(t *testing.T, seed uint64) *fleet {
	f := &fleet{t: t, rand: rand.New(rand.NewPCG(seed, 1)), net: newSimNet(seed), back: make(map[*simClient]time.Time)}
	sum := 0.0
	for i := range *fleetTopics {
		sum += 1 / float64(i+1)
		f.popular = append(f.popular, sum)
	}
	for range *fleetGateways {
		f.gateway()
	}
	return f
}

func (f *fleet) gateway() {
	g := newSimGateway(f.t, f.net)
	f.gateways, f.hosts = append(f.gateways, g), append(f.hosts, g.host)
}

// come has a new client come to a gateway.
func (f *fleet) come() {
	f.numbers++
	x := f.rand.Float64() * f.popular[len(f.popular)-1]
	c := &simClient{
		number: f.numbers, topic: sort.SearchFloat64s(f.popular, x),
		maxPeers: []int{3, 4, 6, 8}[f.rand.IntN(4)], joined: time.Now(),
	}
	f.clients = append(f.clients, c)
	f.connect(c)
}

func (f *fleet) connect(c *simClient) {
	f.joins++
	c.connect(f.gateways[f.rand.IntN(len(f.gateways))])
}

// leave ends c's session.
func (f *fleet) leave(c *simClient) {
	if c.link == nil {
		return
	}
	f.circuits += c.leave()
	f.frames += c.frames
	if c.frames = 0; c.left != nil {
		f.t.Errorf("client %d got LEFT %+v", c.number, c.left)
	}
}

// goes has a client go for good.
func (f *fleet) goes(i int) {
	c := f.clients[i]
	f.clients = slices.Delete(f.clients, i, i+1)
	delete(f.back, c)
	f.leave(c)
}

// die ends a gateway without a word. Its clients come back to others within 5 s.
func (f *fleet) die(life simLife) {
	i := f.rand.IntN(len(f.gateways))
	g := f.gateways[i]
	f.gateways = slices.Delete(f.gateways, i, i+1)
	g.host.die(life, f.hosts)
	for _, c := range f.clients {
		if c.gateway == g && c.link != nil {
			f.leave(c)
			f.back[c] = time.Now().Add(time.Second + time.Duration(f.rand.Int64N(int64(4*time.Second))))
		}
	}
	g.stop()
}

// tick lets time pass, and clients come back.
func (f *fleet) tick() {
	pass(fleetTick)
	for _, c := range f.clients {
		if at, ok := f.back[c]; ok && !time.Now().Before(at) {
			delete(f.back, c)
			f.connect(c)
		}
	}
}

// look checks what always holds, and returns what is seen now.
func (f *fleet) look() (l fleetLook) {
	f.t.Helper()
	synctest.Wait()
	members := make(map[int][]*simClient)
	byEndpoint := make(map[wtproto.EndpointID]*simClient)
	for _, c := range f.clients {
		if c.link != nil {
			members[c.topic] = append(members[c.topic], c)
			byEndpoint[c.secret().Endpoint()] = c
		}
	}
	mates := make(map[*simClient][]*simClient)
	for _, all := range members {
		for _, c := range all {
			open := c.link.look(f.t)
			seen := make(map[string]bool)
			for _, x := range open {
				if x.peer == nil {
					continue
				}
				if seen[string(x.peer)] {
					f.t.Errorf("client %d has two circuits with one peer", c.number)
				}
				seen[string(x.peer)] = true
				if c.first == 0 {
					c.first = max(x.opened.Sub(c.joined), 1)
					f.firsts = append(f.firsts, c.first)
				}
				o := byEndpoint[wtproto.EndpointID(x.peer[len(x.peer)-wtproto.EndpointSize:])]
				if o == c {
					f.t.Errorf("client %d has a circuit with itself", c.number)
				} else if o != nil && o.topic == c.topic {
					mates[c], mates[o] = append(mates[c], o), append(mates[o], c)
				}
			}
			if len(open) > c.maxPeers {
				f.t.Errorf("client %d has %d circuits, and asked for %d", c.number, len(open), c.maxPeers)
			}
			could := min(c.maxPeers, len(all)-1)
			l.open, l.could = l.open+min(len(open), could), l.could+could
			if len(open) >= could {
				l.full++
			}
		}
	}
	for topic := range *fleetTopics {
		all := members[topic]
		if len(all) == 0 {
			continue
		}
		parts := partsOf(all, func(c *simClient, yield func(*simClient)) {
			for _, o := range mates[c] {
				yield(o)
			}
		})
		l.topics, l.clients, l.inOne = l.topics+1, l.clients+len(all), l.inOne+len(parts[0])
		if len(parts) == 1 {
			l.whole++
			continue
		}
		var sizes []int
		for _, p := range parts {
			sizes = append(sizes, len(p))
		}
		l.apart = append(l.apart, fmt.Sprintf("topic %d: %v", topic, sizes))
	}
	return l
}

// settles waits until each topic is one mesh, and returns how long that took after the last
// change.
func (f *fleet) settles(after string) {
	f.t.Helper()
	start := time.Now()
	for {
		l := f.look()
		took := time.Since(start)
		if l.whole == l.topics && len(f.back) == 0 && l.clients == len(f.clients) {
			f.row("each topic is one mesh after %s", "%v", after, took.Round(time.Second))
			return
		}
		if took > fleetSettle {
			f.t.Errorf("%v after %s %d of %d topics are not one mesh: %s", took, after, len(l.apart), l.topics, strings.Join(l.apart, ", "))
			f.row("each topic is one mesh after %s", "not in %v", after, took)
			return
		}
		for range 5 {
			f.tick()
		}
	}
}

// row adds a row to the table. The last arguments are those of value.
func (f *fleet) row(name, value string, args ...any) {
	n := strings.Count(name, "%") - 2*strings.Count(name, "%%")
	f.rows = append(f.rows, fmt.Sprintf("%-60s %s", fmt.Sprintf(name, args[:n]...), fmt.Sprintf(value, args[n:]...)))
}

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(of, 1))) }

// churn has a tenth of the clients go each minute, and as many others come; and one gateway
// die, and another one start.
func (f *fleet) churn(minutes int) {
	owed, worst, worstTopics := 0.0, 1.0, 1.0
	ticks := int(time.Minute / fleetTick)
	inOne, clients, whole, topics := 0, 0, 0, 0
	for n := range minutes * ticks {
		for owed += float64(*fleetClients) / 10 / float64(ticks); owed >= 1; owed-- {
			f.goes(f.rand.IntN(len(f.clients)))
			f.come()
		}
		switch n % ticks {
		case ticks / 4:
			f.die([]simLife{simKilled, simVanished}[n/ticks%2])
		case ticks / 2:
			f.gateway()
		}
		f.tick()
		if n%(ticks/6) == 0 {
			l := f.look()
			worst = min(worst, float64(l.inOne)/float64(l.clients))
			worstTopics = min(worstTopics, float64(l.whole)/float64(l.topics))
			inOne, clients, whole, topics = inOne+l.inOne, clients+l.clients, whole+l.whole, topics+l.topics
		}
	}
	f.row("while they come and go: clients in their topic's greatest part", "%s, %.1f %% at worst", percent(inOne, clients), 100*worst)
	f.row("while they come and go: topics that are one mesh", "%s, %.1f %% at worst", percent(whole, topics), 100*worstTopics)
}

// made returns how many ends of circuits clients had.
func (f *fleet) made() int {
	n := f.circuits
	for _, c := range f.clients {
		if c.link != nil {
			n += c.link.ends()
		}
	}
	return n
}

// messages returns how many messages there were between hosts.
func (f *fleet) messages() (n int, kinds []string) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	for kind, count := range f.net.sent {
		kinds = append(kinds, fmt.Sprintf("%d %s", count, kind))
		if kind != "look-ups" && kind != "announcements" {
			n += count
		}
	}
	slices.Sort(kinds)
	return n, kinds
}

// stop ends everything, and counts what is only known then.
func (f *fleet) stop() {
	f.net.mu.Lock()
	f.net.closed = true
	f.net.mu.Unlock()
	for len(f.clients) > 0 {
		f.goes(len(f.clients) - 1)
	}
	for _, g := range f.gateways {
		g.stop()
	}
	f.gateways = nil
}

// TestFleet is the real router on many gateways, over a network and with clients that are
// models. Clients come all at once, come and go, and lose their gateways; then each topic's
// clients must be one mesh. Nobody has more circuits than it asked for, or two with one peer.
func TestFleet(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SWARMGATE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("SWARMGATE_SEED=%d", seed)
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, seed)
		defer f.stop()
		f.row("gateways, clients, topics", "%d, %d, %d", *fleetGateways, *fleetClients, *fleetTopics)
		for range *fleetClients {
			f.come()
		}
		f.settles("the start")
		f.churn(*fleetMinutes)
		f.settles("the last change")
		l := f.look()
		slices.Sort(f.firsts)
		if n := len(f.firsts); n > 0 {
			f.row("from JOIN to the first circuit", "%v in the middle, %v for nine of ten, %v at most",
				f.firsts[n/2].Round(time.Millisecond), f.firsts[n*9/10].Round(time.Millisecond), f.firsts[n-1].Round(time.Millisecond))
		}
		f.row("places that are taken, of those that could be", "%s", percent(l.open, l.could))
		f.row("clients that are full", "%s", percent(l.full, l.clients))
		messages, kinds := f.messages()
		f.row("messages between gateways a join", "%.1f", float64(messages)/float64(f.joins))
		f.row("ends of circuits that were made a join", "%.1f", float64(f.made())/float64(f.joins))
		// At rest little happens.
		before := f.made()
		pass(5 * time.Minute)
		rest, _ := f.messages()
		f.row("at rest: ends of circuits made, messages, in 5 minutes", "%d, %d", f.made()-before, rest-messages)
		if l := f.look(); l.whole != l.topics {
			t.Errorf("at rest %d of %d topics fell apart: %s", l.topics-l.whole, l.topics, strings.Join(l.apart, ", "))
		}
		joins := f.joins
		f.stop() // the last frames are counted
		f.row("frames on control streams to clients a join", "%.1f", float64(f.frames)/float64(joins))
		f.row("what gateways said", "%s", strings.Join(kinds, ", "))
		t.Logf("\n%s", strings.Join(f.rows, "\n"))
	})
}
