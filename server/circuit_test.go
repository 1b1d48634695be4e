package server

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/internal/splice"
	"github.com/swarmgate/swarmgate/wtproto"
)

// open returns both sides of a circuit between a new client and a new peer.
func (g *bubble) open(id string) (*fakeClient, fakeCircuit, *fakePeer, *fakeStream) {
	g.t.Helper()
	c, p := g.connect(), g.lan.peer(id)
	c.join(wtproto.JoinLookUp, 0)
	g.lan.see(p.sighting())
	return c, c.circuit(), p, p.circuit()
}

// bothKinds runs test with both sides of a circuit between a client and a peer, and of one between
// two clients.
func bothKinds(t *testing.T, test func(t *testing.T, g *bubble, x, y *fakeStream)) {
	t.Run("client and peer", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			_, x, _, y := g.open("1")
			test(t, g, x.fakeStream, y)
		})
	})
	t.Run("peer and client", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			_, x, _, y := g.open("1")
			test(t, g, y, x.fakeStream)
		})
	})
	t.Run("two clients", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			x, y := g.pair()
			test(t, g, x.fakeStream, y.fakeStream)
		})
	})
}

// circuits returns how many circuits all clients have.
func (g *bubble) circuits() (n int) {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	for ses := range g.live {
		n += ses.circuits()
	}
	return n
}

func TestCircuitPassesEveryByte(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, splice.BufferSize, splice.BufferSize + 513, 1<<20 + 7} {
		bothKinds(t, func(t *testing.T, g *bubble, x, y *fakeStream) {
			for ses := range g.live {
				ses.mu.Lock()
				for _, l := range ses.legs {
					l.credit.grant(1 << 40)
				}
				ses.mu.Unlock()
			}
			there, back := make([]byte, size), make([]byte, size)
			rand.NewChaCha8([32]byte{1}).Read(there)
			rand.NewChaCha8([32]byte{2}).Read(back)
			var wg sync.WaitGroup
			for _, way := range []struct {
				data     []byte
				from, to *fakeStream
			}{{there, x, y}, {back, y, x}} {
				wg.Go(func() {
					if n, err := way.from.Write(way.data); err != nil {
						t.Errorf("%d of %d bytes written: %v", n, size, err)
					}
					way.from.CloseWrite()
				})
				wg.Go(func() {
					if got, err := io.ReadAll(way.to); err != nil || !bytes.Equal(got, way.data) {
						t.Errorf("%d bytes in, %d out, %v", size, len(got), err)
					}
				})
			}
			wg.Wait()
			if n := g.circuits(); n != 0 {
				t.Errorf("%d circuits are left", n)
			}
		})
	}
}

// FIN ends one direction, and the other goes on.
func TestCircuitHalfClose(t *testing.T) {
	bothKinds(t, func(t *testing.T, g *bubble, x, y *fakeStream) {
		io.WriteString(x, "request")
		x.CloseWrite()
		synctest.Wait()
		if b, err := io.ReadAll(y); string(b) != "request" || err != nil {
			t.Fatalf("read %q, %v", b, err)
		}
		pass(10 * time.Second)
		io.WriteString(y, "answer")
		y.CloseWrite()
		if b, err := io.ReadAll(x); string(b) != "answer" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
		if n := g.circuits(); n != 0 {
			t.Errorf("%d circuits are left after FIN both ways", n)
		}
	})
}

// A reset of either direction ends the whole circuit, with its code at the other end.
func TestCircuitReset(t *testing.T) {
	for name, end := range map[string]func(*fakeStream, wtproto.Code){
		"RESET":        (*fakeStream).CancelWrite,
		"STOP_SENDING": (*fakeStream).CancelRead,
		"both":         func(s *fakeStream, code wtproto.Code) { reset(s, code) },
	} {
		for _, code := range []wtproto.Code{wtproto.CodeDeclined, wtproto.CodeApplication + 7, 1<<32 - 1} {
			t.Run(name+" "+code.String(), func(t *testing.T) {
				bothKinds(t, func(t *testing.T, g *bubble, x, y *fakeStream) {
					talk(t, x, y)
					end(x, code)
					// The gateway notices a side that only stops reading when there is something
					// to read.
					io.WriteString(y, "x")
					wantReset(t, y, code)
					if n := g.circuits(); n != 0 {
						t.Errorf("%d circuits are left", n)
					}
				})
			})
		}
	}
}

// A client that stops reading is noticed within a second though nobody writes, or both sides would
// wait for ever.
func TestCircuitStopNoticedInSilence(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		_, x, _, y := g.open("1")
		x.CancelRead(wtproto.CodeLeft)
		pass(restEvery)
		wantReset(t, y, wtproto.CodeLeft)
	})
}

// What was sent before a FIN arrives even if the other direction is reset later.
func TestCircuitResetAfterHalfClose(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		_, x, _, y := g.open("1")
		io.WriteString(y, "all of it")
		y.CloseWrite()
		synctest.Wait()
		y.CancelRead(wtproto.CodeApplication)
		io.WriteString(x, "x")
		synctest.Wait()
		if b, err := io.ReadAll(x); string(b) != "all of it" || err != nil {
			t.Errorf("read %q, %v, want all of it and a FIN", b, err)
		}
		if _, err := x.Write([]byte("x")); codeOf(err) != wtproto.CodeApplication {
			t.Errorf("Write = %v, want a reset with %v", err, wtproto.CodeApplication)
		}
	})
}

func TestCircuitEndsWithConnection(t *testing.T) {
	t.Run("of the peer", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			c, x, _, y := g.open("1")
			y.lose()
			wantReset(t, x.fakeStream, wtproto.CodePeerGone)
			c.lives()
		})
	})
	t.Run("of the client", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			c, _, _, y := g.open("1")
			c.link.end(nil)
			wantReset(t, y, wtproto.CodePeerGone)
		})
	})
	t.Run("of one of two clients", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			a, b := g.connect(), g.connect()
			a.join(announceAndLookUp, 0)
			b.join(announceAndLookUp, 0)
			x, y := a.circuit(), b.circuit()
			talk(t, x, y)
			b.link.end(nil)
			wantReset(t, x.fakeStream, wtproto.CodePeerGone)
			a.lives()
		})
	})
}

// The gateway sends no more than the client has granted, and takes no more from the peer than its
// buffers hold.
func TestCircuitCredit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, g *bubble) {
		c := g.dial()
		c.control = c.link.dial()
		c.frames = wtproto.NewReader(c.control)
		c.send(wtproto.Hello{Version: 1, Credit: 5000, Secret: c.secret})
		expect[wtproto.Welcome](c)
		c.join(announceAndLookUp, 0)
		p := g.lan.peer("1")
		g.lan.see(p.sighting())
		x, y := c.circuit(), p.circuit()
		go y.Write(make([]byte, 1<<20))
		read, granted := 0, 5000
		for _, step := range []struct{ offset, want int }{
			{0, 5000}, {4000, 5000}, {5001, 5001}, {20_000, 20_000}, {20_000, 20_000}, {60_000, 60_000}, {60_001, 60_001},
		} {
			c.send(wtproto.Credit{Circuit: x.Circuit, Offset: uint64(step.offset)})
			granted = max(granted, step.offset)
			synctest.Wait()
			n := x.unread()
			io.CopyN(io.Discard, x, int64(n))
			if read += n; read != step.want {
				t.Fatalf("%d bytes came with %d granted, want %d", read, granted, step.want)
			}
		}
		if held := y.taken() - read; held > splice.BufferSize {
			t.Errorf("the gateway holds %d bytes, want %d at most", held, splice.BufferSize)
		}
		// The other direction goes on.
		io.WriteString(x, "hello")
		b := make([]byte, 5)
		if _, err := io.ReadFull(y, b); err != nil || string(b) != "hello" {
			t.Errorf("read %q, %v", b, err)
		}
		// The peer's reset is seen once the gateway reads from it again.
		y.CancelWrite(wtproto.CodeApplication)
		c.send(wtproto.Credit{Circuit: x.Circuit, Offset: 1 << 20})
		wantReset(t, x.fakeStream, wtproto.CodeApplication)
	})
}

// Circuits that are not read harm no other.
func TestStalledCircuits(t *testing.T) {
	inBubble(t, Config{DefaultPeers: -1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(announceAndLookUp, 0)
		for n := range 101 {
			p := g.lan.peer(string(rune(1000 + n)))
			g.lan.see(p.sighting())
			x, y := c.circuit(), p.circuit()
			if n == 100 {
				for range 10 {
					talk(t, x, y)
				}
				break
			}
			go y.Write(make([]byte, 1<<20)) // until the end of the test
			go x.Write(make([]byte, 1<<20))
		}
		c.lives()
	})
}

// A client whose platform cannot send a code in a reset sends it with DECLINE, and gets the code
// of a reset with WITHDRAW.
func TestCodesBesideResets(t *testing.T) {
	for _, loses := range []bool{true, false} {
		inBubble(t, Config{}, func(t *testing.T, g *bubble) {
			a, b := g.connect(), g.connect()
			a.link.loses, b.link.loses = loses, loses
			a.join(announceAndLookUp, 0)
			b.join(announceAndLookUp, 0)
			x, y := pairUp(t, a, b)
			a.send(wtproto.Decline{Circuit: x.Circuit, Code: 777})
			synctest.Wait()
			for _, side := range []fakeCircuit{x, y} {
				if code := codeOf(side.failure()); code != 777 {
					t.Errorf("after DECLINE with 777 a stream failed with %v", code)
				}
			}
			var want []message
			if loses {
				want = []message{wtproto.Withdraw{Circuit: y.Circuit, Code: 777}}
			}
			if told := b.pending(); !slices.Equal(told, want) {
				t.Errorf("told %+v, want %+v", told, want)
			}
		})
	}
}
