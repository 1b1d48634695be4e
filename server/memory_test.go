package server

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// fakeHeap is a gauge without a heap. As with Go's, only a collection shows how much is garbage.
type fakeHeap struct {
	mu          sync.Mutex
	needed      func() int64 // guarded by mu; nil for nothing
	garbage     int64        // guarded by mu
	live        int64        // guarded by mu; at the last collection
	collections uint64       // guarded by mu
}

func (h *fakeHeap) read() usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return usage{live: h.live, now: h.neededLocked() + h.garbage, collections: h.collections}
}

func (h *fakeHeap) collect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live, h.garbage = h.neededLocked(), 0
	h.collections++
}

func (h *fakeHeap) neededLocked() int64 {
	if h.needed == nil {
		return 0
	}
	return h.needed()
}

// set says what is in use from now on.
func (h *fakeHeap) set(garbage int64, needed func() int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.garbage, h.needed = garbage, needed
}

// alive returns the indices of the circuits that have not ended.
func alive(circuits []fakeCircuit) (n []int) {
	for i, x := range circuits {
		if x.failure() == nil {
			n = append(n, i)
		}
	}
	return n
}

// testMemory is a budget with 1.5 MiB as full and 1.75 MiB as over.
const testMemory = 2560 << 10

// attack has two clients of two addresses on the topic: one with one circuit that it does not
// read, for a minute already, and one with n circuits on which it sends what nobody reads, a
// second apart.
func attack(t *testing.T, g *bubble, n int) (victim fakeCircuit, attacker []fakeCircuit) {
	c := g.connect()
	c.join(wtproto.JoinLookUp, 1)
	p := g.lan.peer("victim's")
	g.lan.see(p.sighting())
	victim = c.circuit()
	go p.circuit().Write(make([]byte, 1<<20))
	pass(time.Minute)
	l := newFakeLink()
	l.from = net.IPv4(198, 51, 100, 7)
	bad := g.dialOver(l)
	bad.hello()
	expect[wtproto.Welcome](bad)
	bad.join(wtproto.JoinLookUp, uint64(n))
	for i := range n {
		g.lan.see(g.lan.peer(string(rune(1000 + i))).sighting())
		x := bad.circuit()
		attacker = append(attacker, x)
		go x.Write(make([]byte, 1<<20))
		pass(time.Second)
	}
	return victim, attacker
}

// One person's 264 circuits, which held 1 MiB together, once had another's paused circuit reset
// after 2 s, with a limit of 512 MiB: it had waited longest, and each circuit was counted with all
// that it could hold.
func TestPausedCircuitOutlivesAnAttack(t *testing.T) {
	inBubble(t, Config{Memory: 512 << 20, MaxCircuits: -1, IsolateClients: true, Idle: 24 * time.Hour}, func(t *testing.T, g *bubble) {
		victim, attacker := attack(t, g, 264)
		pass(time.Minute)
		if err := victim.failure(); err != nil {
			t.Errorf("the paused circuit ended with %v", err)
		}
		if n := len(alive(attacker)); n != 264 {
			t.Errorf("%d circuits of 264 are left, although there is memory", n)
		}
	})
}

// When memory is short, those circuits end that have waited longest of the principal that holds
// most, and no more than it takes.
func TestMemoryShort(t *testing.T) {
	const circuits, each = 12, 128 << 10
	var refused []LimitName
	var mu sync.Mutex
	observer := &Observer{Refused: func(l LimitName, c wtproto.Code) {
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, l)
	}}
	inBubble(t, Config{Memory: testMemory, IsolateClients: true, Idle: time.Hour, Observer: observer}, func(t *testing.T, g *bubble) {
		victim, attacker := attack(t, g, circuits)
		g.heap.set(0, func() int64 { return 1<<20 + int64(len(alive(attacker)))*each })
		pass(time.Minute)
		if err := victim.failure(); err != nil {
			t.Errorf("the circuit of the one who holds little ended with %v", err)
		}
		left := alive(attacker)
		if len(left) == 0 || len(left) == circuits || left[0] != circuits-len(left) {
			t.Errorf("circuits %v of %d are left, want the newest", left, circuits)
		}
		if used := g.heap.read().now; used >= g.router.memory.budget.over {
			t.Errorf("%d bytes are in use, want less than %d", used, g.router.memory.budget.over)
		}
		for i, x := range attacker[:circuits-len(left)] {
			if code := codeOf(x.failure()); code != wtproto.CodeStalled {
				t.Errorf("circuit %d ended with %v, want STALLED", i, code)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		refused = slices.DeleteFunc(refused, func(l LimitName) bool { return l != LimitUnread })
		if n := circuits - len(left); len(refused) != n {
			t.Errorf("%s was met %d times, want %d", LimitUnread, len(refused), n)
		}
	})
}

// A client can keep what its circuits held at the gateway after their end, by not answering. Then
// its session ends, and nobody else's.
func TestMemoryNotGivenBack(t *testing.T) {
	inBubble(t, Config{Memory: testMemory, IsolateClients: true, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		const circuits = 4
		victim, attacker := attack(t, g, circuits)
		over := g.router.memory.budget.over
		g.heap.set(0, func() int64 {
			if g.Sessions() == 2 {
				return over
			}
			return 0
		})
		pass(giveBack + time.Second)
		if err := victim.failure(); err != nil {
			t.Errorf("the circuit of the one who holds little ended with %v", err)
		}
		if n := len(alive(attacker)); n != 0 || g.Sessions() != 1 {
			t.Errorf("%d circuits of the other are left, and %d sessions, want none and one", n, g.Sessions())
		}
	})
}

// One who held as much as made memory full, and no more, once kept all newcomers out for as long
// as it liked: circuits that nobody read ended only when there was too little memory for those
// that there were.
func TestNobodyKeepsMemoryFull(t *testing.T) {
	inBubble(t, Config{Memory: testMemory, IsolateClients: true, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		const circuits = 12
		victim, attacker := attack(t, g, circuits)
		full := g.router.memory.budget.full
		g.heap.set(0, func() int64 { return full - 100<<10 + int64(len(alive(attacker)))*(10<<10) })
		pass(10 * time.Second)
		if g.router.memory.refuse(true) != nil {
			t.Errorf("memory is full still, with %d bytes in use and %d circuits", g.heap.read().now, len(alive(attacker)))
		}
		g.connect()
		if err := victim.failure(); err != nil {
			t.Errorf("the circuit of the one who holds little ended with %v", err)
		}
		if len(alive(attacker)) == circuits {
			t.Error("no circuit of the one who holds most has ended")
		}
	})
}

// Memory may be full of what nobody holds much of. Then those who pause keep their circuits.
func TestMemoryFullOfManyThings(t *testing.T) {
	inBubble(t, Config{Memory: 512 << 20, IsolateClients: true, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		victim, others := attack(t, g, 3)
		full := g.router.memory.budget.full
		g.heap.set(0, func() int64 { return full })
		pass(time.Minute)
		if n := len(alive(append(others, victim))); n != 4 {
			t.Errorf("%d circuits of 4 are left", n)
		}
	})
}

// While memory is full nothing new begins, and what there is goes on.
func TestMemoryFull(t *testing.T) {
	inBubble(t, Config{Memory: testMemory, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c, x, p, y := g.open("1")
		full := g.router.memory.budget.full
		g.heap.set(0, func() int64 { return full })
		pass(time.Second)
		l := newFakeLink()
		l.from = net.IPv4(198, 51, 100, 7)
		newcomer := g.dialOver(l) // has nothing yet, so it may begin
		newcomer.hello()
		expect[wtproto.Welcome](newcomer)
		late := g.dial()
		late.hello()
		if err := receive(t, late.returned, "end of the session"); err.Code != wtproto.CodeBusy {
			t.Errorf("a new session ended with %v, want BUSY", err)
		}
		second := g.lan.peer("2")
		g.lan.see(second.sighting())
		pass(time.Minute)
		if n := len(second.dialed()); n != 0 {
			t.Errorf("a peer was dialed %d times for a further circuit", n)
		}
		talk(t, x, y)
		g.heap.set(0, func() int64 { return full - 1 })
		c.circuit()
		g.connect()
		talk(t, x, y)
		if n := len(p.dialed()); n != 1 {
			t.Errorf("the first peer was dialed %d times, want once", n)
		}
	})
}

// Garbage is not memory in use, however much there is.
func TestMemoryGarbage(t *testing.T) {
	inBubble(t, Config{Memory: testMemory, IsolateClients: true, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		victim, attacker := attack(t, g, 3)
		for range 10 {
			g.heap.set(testMemory, func() int64 { return 1 << 20 })
			pass(time.Second)
		}
		if n := len(alive(append(attacker, victim))); n != 4 {
			t.Errorf("%d circuits of 4 are left", n)
		}
		g.connect()
		if n := g.heap.read().collections; n != 10 {
			t.Errorf("%d collections, want 10", n)
		}
	})
}

// A client that reads a little now and then is slow: of two circuits the one ends that it reads
// nothing of.
func TestSlowIsNotStalled(t *testing.T) {
	inBubble(t, Config{Memory: testMemory, Idle: time.Hour}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 0)
		var xs []fakeCircuit
		for _, id := range []string{"slow", "stalled"} {
			p := g.lan.peer(id)
			g.lan.see(p.sighting())
			x, y := c.circuit(), p.circuit()
			xs = append(xs, x)
			go y.Write(make([]byte, 1<<20))
			go io.Copy(io.Discard, x)
			pass(time.Second)
		}
		granted := uint64(64 << 10)
		slow := func() {
			granted += 100
			c.send(wtproto.Credit{Circuit: xs[0].Circuit, Offset: granted})
			pass(time.Second)
		}
		for range 30 {
			slow()
		}
		g.heap.set(0, func() int64 { return 1<<20 + int64(len(alive(xs)))*(400<<10) })
		for range 10 {
			slow()
		}
		if left := alive(xs); !slices.Equal(left, []int{0}) {
			t.Errorf("circuits %v are left, want only the first", left)
		}
		synctest.Wait()
	})
}
