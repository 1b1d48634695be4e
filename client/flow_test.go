package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// fullRead reads n bytes of conn.
func fullRead(t testing.TB, conn *Conn, n int) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		t.Fatalf("Read: %v", err)
	}
}

// credit reads the next CREDIT, and reports one that is not for a circuit up to offset.
func (r *remote) credit(id wtproto.CircuitID, offset uint64) {
	r.t.Helper()
	if m, want := expect(r, wtproto.TypeCredit, wtproto.ParseCredit), (wtproto.Credit{Circuit: id, Offset: offset}); m != want {
		r.t.Errorf("CREDIT = %+v, want %+v", m, want)
	}
}

// The credit that a client gives, to the byte. What was read within a round trip doubles the
// window.
func TestCreditOnTheWire(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		if got := r.hello.Credit; got != 64*kib {
			t.Errorf("HELLO's credit = %d, want %d", got, 64*kib)
		}
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		if _, err := s.Write(make([]byte, 64*kib)); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		fullRead(t, conn, 16*kib-1)
		r.sync() // no CREDIT
		fullRead(t, conn, 1)
		r.credit(1, 80*kib) // it took longer than a round trip
		<-time.After(time.Second)
		fullRead(t, conn, 16*kib)
		r.credit(1, 96*kib)
		fullRead(t, conn, 16*kib) // within 10 ms
		r.credit(1, (48+128)*kib)
		other, s2 := r.circuit(topic, 2)
		s2.Write(make([]byte, 64*kib))
		fullRead(t, other, 64*kib) // several quarters before the writer came to write
		last := expect(r, wtproto.TypeCredit, wtproto.ParseCredit)
		for last.Offset < (64+128)*kib {
			next := expect(r, wtproto.TypeCredit, wtproto.ParseCredit)
			if next.Circuit != 2 || next.Offset <= last.Offset {
				t.Fatalf("CREDIT %+v after %+v", next, last)
			}
			last = next
		}
		s2.Close()
		io.ReadAll(other)
		live(c).mu.Lock()
		defer live(c).mu.Unlock()
		if other.account.open {
			t.Error("a circuit that was read to its end has an account")
		}
	})
}

// The gateway can send all that it has credit for, on all circuits together: no window of QUIC is
// smaller.
func TestWindowsExceedCredit(t *testing.T) {
	for _, tt := range []struct {
		budget   int64
		circuits int
		credit   uint64 // of all circuits, at least
	}{
		{64 * mib, 1, 6 * mib},
		{4 * mib, 8, 3 * mib / 2},
	} {
		inBubble(t, func(t *testing.T, n *network) {
			c, r := n.session(t, func(c *Config) { c.Budget = tt.budget })
			topic := r.join(c, topicA, JoinOptions{})
			f := r.faithful()
			var writers []*creditWriter
			for id := wtproto.CircuitID(1); id <= wtproto.CircuitID(tt.circuits); id++ {
				conn, s := r.circuit(topic, id)
				w := f.writer(s, id)
				for range 20 { // until the window has grown
					room, err := w.room()
					if err != nil || room >= tt.credit {
						break
					}
					written := make(chan error, 1)
					go func() {
						_, err := w.Write(make([]byte, room/2))
						written <- err
					}()
					for left := int(room / 2); left > 0; left -= 2 * kib { // the second quarter comes promptly after the first
						fullRead(t, conn, min(left, 2*kib))
					}
					if err := <-written; err != nil {
						t.Fatal(err)
					}
					<-time.After(rtt) // CREDIT comes
				}
				writers = append(writers, w)
			}
			var total uint64
			for i, w := range writers {
				room, err := w.room()
				if err != nil {
					t.Fatal(err)
				}
				total += room
				w.s.SetWriteDeadline(time.Now().Add(10 * time.Second))
				if n, err := w.s.Write(make([]byte, room)); err != nil {
					t.Errorf("circuit %d: %d bytes sent of %d: %v", i, n, room, err)
				}
			}
			if total < tt.credit {
				t.Errorf("credit of %d bytes, want %d", total, tt.credit)
			}
		})
	}
}

// What a gateway sends beyond its credit is the end of the session.
func TestCreditOverrun(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		topic := r.join(c, topicA, JoinOptions{})
		conn, s := r.circuit(topic, 1)
		s.Write(make([]byte, 64*kib+1))
		<-time.After(time.Second)
		if n, err := conn.Read(make([]byte, mib)); n != 64*kib+1 || err != nil {
			t.Fatalf("Read = %d, %v, want all at once", n, err)
		}
		_, err := conn.Read(make([]byte, 1))
		wantError(t, "Read", err, wtproto.CodeProtocol, false)
		if e := r.closed(); wtproto.Code(e.ErrorCode) != wtproto.CodeProtocol {
			t.Errorf("session closed with %v", e)
		}
	})
}

// Of a circuit's credit the newest offset is kept until it is written, and none once the circuit
// has ended.
func TestOutbox(t *testing.T) {
	var o outbox
	a := &Conn{id: 1, account: account{open: true, granted: 100}}
	b := &Conn{id: 2, account: account{open: true, granted: 200}}
	o.credit(a)
	o.credit(b)
	a.account.granted = 300
	o.credit(a)
	o.frames = wtproto.Leave{}.Append(nil)
	o.pong, o.pongs = wtproto.Pong{Data: [8]byte{1}}, true
	want := wtproto.Leave{}.Append(nil)
	want = wtproto.Pong{Data: [8]byte{1}}.Append(want)
	want = wtproto.Credit{Circuit: 1, Offset: 300}.Append(want)
	want = wtproto.Credit{Circuit: 2, Offset: 200}.Append(want)
	if got := o.take(nil); !bytes.Equal(got, want) {
		t.Errorf("take = %x, want %x", got, want)
	}
	if got := o.take(nil); len(got) != 0 {
		t.Errorf("second take = %x", got)
	}
	o.credit(a)
	o.credit(b)
	o.drop(a)
	o.drop(a)
	want = wtproto.Credit{Circuit: 2, Offset: 200}.Append(nil)
	if got := o.take(nil); !bytes.Equal(got, want) {
		t.Errorf("take = %x after one circuit ended, want %x", got, want)
	}
	o.credit(b)
	if got := o.take(nil); !bytes.Equal(got, want) {
		t.Errorf("take = %x, want %x again", got, want)
	}
}

// faithful is a gateway that writes no more on its circuits than it has credit for. It reads the
// control stream.
type faithful struct {
	*remote
	mu      sync.Mutex
	granted map[wtproto.CircuitID]uint64 // guarded by mu; missing means HELLO's
	more    *sync.Cond                   // guarded by mu
	ended   bool                         // guarded by mu
}

func (r *remote) faithful() *faithful {
	f := &faithful{remote: r, granted: make(map[wtproto.CircuitID]uint64)}
	f.more = sync.NewCond(&f.mu)
	go func() {
		for {
			r.control.SetReadDeadline(time.Time{})
			typ, payload, err := r.frames.Next()
			f.mu.Lock()
			switch {
			case err != nil:
				f.ended = true
			case typ == wtproto.TypeCredit:
				m, _ := wtproto.ParseCredit(payload)
				f.granted[m.Circuit] = m.Offset
			case typ == wtproto.TypePing:
				r.control.Write(wtproto.Pong{}.Append(nil))
			}
			f.more.Broadcast()
			f.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return f
}

// creditWriter writes the gateway's end of a circuit.
type creditWriter struct {
	f    *faithful
	s    farStream
	id   wtproto.CircuitID
	sent uint64
}

func (f *faithful) writer(s farStream, id wtproto.CircuitID) *creditWriter {
	return &creditWriter{f: f, s: s, id: id}
}

// room waits for credit, and returns how much there is.
func (w *creditWriter) room() (uint64, error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	for {
		granted := max(w.f.granted[w.id], w.f.hello.Credit)
		if granted > w.sent {
			return granted - w.sent, nil
		}
		if w.f.ended || w.s.Context().Err() != nil {
			return 0, io.ErrClosedPipe
		}
		w.f.more.Wait()
	}
}

func (w *creditWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		room, err := w.room()
		if err != nil {
			return done, err
		}
		n, err := w.s.Write(b[done:min(len(b), done+int(min(room, 1<<20)))])
		done += n
		w.sent += uint64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// pattern writes n bytes that differ between circuits, and returns their hash.
func pattern(w io.Writer, seed byte, n int) ([32]byte, error) {
	block := make([]byte, 100_003)
	for i := range block {
		block[i] = byte(i*7) ^ byte(i>>8) ^ seed
	}
	h := sha256.New()
	for n > 0 {
		b := block[:min(n, len(block))]
		if _, err := w.Write(b); err != nil {
			return [32]byte{}, err
		}
		h.Write(b)
		n -= len(b)
	}
	return [32]byte(h.Sum(nil)), nil
}

// 100 circuits that nobody reads hold what they were granted, and the 101st moves; then all are
// read, and nothing is lost.
func TestStalledCircuits(t *testing.T) { overEach(t, testStalledCircuits) }

func testStalledCircuits(t *testing.T, g *fake) {
	c, r := g.session(func(c *Config) { c.Budget = 32 * mib })
	topic := r.join(c, topicA, JoinOptions{})
	f := r.faithful()
	const stalled, size = 100, 300 * kib
	type sent struct {
		hash [32]byte
		err  error
	}
	write := func(s farStream, id wtproto.CircuitID, n int) <-chan sent {
		result := make(chan sent, 1)
		go func() {
			hash, err := pattern(f.writer(s, id), byte(id), n)
			s.Close()
			result <- sent{hash, err}
		}()
		return result
	}
	check := func(conn *Conn, result <-chan sent) {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		h := sha256.New()
		if _, err := io.Copy(h, conn); err != nil {
			t.Fatalf("Read: %v", err)
		}
		if s := <-result; s.err != nil || s.hash != [32]byte(h.Sum(nil)) {
			t.Fatalf("what was read is not what was written (%v)", s.err)
		}
		conn.Close()
	}
	var conns []*Conn
	var results []<-chan sent
	for id := wtproto.CircuitID(1); id <= stalled; id++ {
		conn, s := r.circuit(topic, id)
		conns, results = append(conns, conn), append(results, write(s, id, size))
	}
	moving, s := r.circuit(topic, 1000)
	check(moving, write(s, 1000, 24*mib))
	for i, result := range results {
		select {
		case s := <-result:
			t.Fatalf("circuit %d was written though nobody read it: %v", i+1, s.err)
		default:
		}
	}
	for i := range conns {
		check(conns[i], results[i])
	}
	if n := live(c).places(); n != 0 {
		t.Errorf("%d circuits are left", n)
	}
	live(c).mu.Lock()
	defer live(c).mu.Unlock()
	if want := newBudget(32 * mib); live(c).budget != want {
		t.Errorf("budget = %+v in the end, want %+v", live(c).budget, want)
	}
}

// What one client sends arrives unchanged whatever the sizes of reads and writes.
func TestUpload(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	got := make(chan [32]byte, 1)
	go func() {
		h := sha256.New()
		io.CopyBuffer(h, struct{ io.Reader }{s}, make([]byte, 777))
		got <- [32]byte(h.Sum(nil))
	}()
	want, err := pattern(conn, 1, 5*mib+1)
	if err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	if hash := <-got; hash != want {
		t.Error("what was read is not what was written")
	}
}

// Circuits end in all ways at once, from both sides, and nothing is left of them.
func TestChurn(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	f := r.faithful()
	const n = 400
	var wg, accepted sync.WaitGroup
	ctx, cancel := context.WithCancel(deadline(t))
	accepted.Go(func() {
		for conn, err := range topic.Conns(ctx) { // but those that are reset before
			if err != nil {
				return
			}
			accepted.Go(func() {
				defer conn.Close()
				switch conn.Peer().ID[1] % 4 {
				case 0:
					io.Copy(conn, conn)
				case 1:
					conn.Reset(wtproto.CodeApplication)
				case 2:
					conn.Write(make([]byte, 10*kib))
				case 3:
					io.CopyN(io.Discard, conn, 100*kib)
				}
			})
		}
	})
	slots := make(chan struct{}, 50)
	for id := wtproto.CircuitID(1); id <= n; id++ {
		slots <- struct{}{}
		s := r.open(peer(id).Append(nil))
		s.(*quic.Stream).SetReliableBoundary() // a reset does not overtake PEER
		w := f.writer(s, id)
		wg.Go(func() {
			defer func() { <-slots }()
			var inner sync.WaitGroup
			inner.Go(func() { io.Copy(io.Discard, s) })
			switch id % 3 {
			case 0:
				b := make([]byte, 30*kib)
				rand.Read(b)
				w.Write(b)
				s.Close()
			case 1:
				w.Write(make([]byte, 20*kib))
				reset(s, wtproto.CodePeerGone)
			case 2:
				s.Close()
			}
			inner.Wait()
		})
	}
	wg.Wait()
	waitPlaces(t, c, 0)
	cancel()
	accepted.Wait()
	live(c).mu.Lock()
	defer live(c).mu.Unlock()
	if want := newBudget(64 * mib); live(c).budget != want {
		t.Errorf("budget = %+v in the end, want %+v", live(c).budget, want)
	}
}

// Whoever declines a crowd says so no faster than a gateway bears (docs/PROTOCOL.md, Limits).
func TestDeclineRate(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		c, r := n.session(t, nil)
		r.join(c, topicA, JoinOptions{Filter: func(Peer) bool { return false }})
		const crowd = 256
		for id := wtproto.CircuitID(1); id <= crowd; id++ {
			r.send(peer(id))
		}
		r.send(wtproto.Ping{})
		declined := 0
		for {
			switch typ, _ := r.next(); typ {
			case wtproto.TypeDecline:
				declined++
				continue
			case wtproto.TypePing:
				continue
			}
			break
		}
		if declined < declineBurst || declined > declineBurst+2 {
			t.Errorf("%d DECLINE at once, want %d", declined, declineBurst)
		}
		<-time.After(time.Second)
		r.send(peer(crowd + 1))
		if m := expect(r, wtproto.TypeDecline, wtproto.ParseDecline); m.Circuit != crowd+1 || m.Code != wtproto.CodeDeclined {
			t.Errorf("%+v, a second later, want DECLINED of %d", m, crowd+1)
		}
	})
}
