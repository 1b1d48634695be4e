package client

import (
	"io"
	"testing"
	"time"
)

// One circuit on loopback, with a gateway in the same process that keeps to its credit.
func BenchmarkRead(b *testing.B) {
	c, r := newSessionPair(b, nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	w := r.faithful().writer(s, 1)
	go func() {
		for block := make([]byte, 256*kib); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 32*kib)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
}

func BenchmarkWrite(b *testing.B) {
	c, r := newSessionPair(b, nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	go io.Copy(io.Discard, s)
	buf := make([]byte, 32*kib)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
}

// What a circuit adds to a Read of QUIC takes no memory, credit and its frames included.
func TestReadAllocates(t *testing.T) {
	c, _ := newSessionPair(t, nil)
	s := &session{link: live(c).link, budget: newBudget(64 * mib), wake: make(chan struct{}, 1)} // without goroutines
	conn := &Conn{id: 1}
	conn.account, _ = s.budget.open(time.Now())
	frames := make([]byte, 0, kib)
	before := conn.account.granted
	if avg := testing.AllocsPerRun(100, func() {
		s.consumed(conn, int(conn.account.window/4))
		frames = s.out.take(frames[:0])
	}); avg != 0 {
		t.Errorf("accounting of a Read allocates %v times, want 0", avg)
	}
	if rose := conn.account.granted - before; rose < 100*16*kib || len(frames) == 0 {
		t.Errorf("%d bytes were granted for 100 Reads of a quarter, the last in %d bytes of frames", rose, len(frames))
	}
}
