package server

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// A window is at most socketWindow more than was read, and grows only while it is read fast and
// there is memory.
func TestInflow(t *testing.T) {
	const kib = 1 << 10
	for _, test := range []struct {
		name    string
		each    int           // read at once
		times   int           // so often
		pause   time.Duration // before each
		mayGrow bool
		granted int64 // in the end
	}{
		{"nothing read", 0, 1, 0, true, 64 * kib},
		{"less than half", 31 * kib, 1, 0, true, 64 * kib},
		{"half at once", 32 * kib, 1, 0, true, (32 + 128) * kib},
		{"half in the time", 16 * kib, 2, readFast/2 - 1, true, (32 + 128) * kib},
		{"half slowly", 16 * kib, 2, readFast / 2, true, (32 + 64) * kib},
		{"much slowly", 32 * kib, 1000, readFast, true, (32000 + 64) * kib},
		{"much, and fast", 512 * kib, 10, 0, true, (5120 + 1024) * kib},
		{"much and fast, while memory is short", 32 * kib, 100, 0, false, (3200 + 64) * kib},
	} {
		now := time.Unix(0, 0)
		f := newInflow(now)
		last := f.granted
		for range test.times {
			now = now.Add(test.pause)
			if offset, grant := f.take(test.each, now, test.mayGrow); grant {
				if offset <= last || offset-f.read > socketWindow {
					t.Errorf("%s: granted %d after %d, with %d read", test.name, offset, last, f.read)
				}
				last = offset
			}
		}
		if f.granted != test.granted || f.granted != last {
			t.Errorf("%s: granted %d, told %d, want %d", test.name, f.granted, last, test.granted)
		}
	}
	f := newInflow(time.Unix(0, 0))
	if !f.receive(65_536) || f.receive(1) {
		t.Error("the window is not 65,536 bytes at first")
	}
}

// What goes in comes out, whatever the sizes, and what holds nothing holds no memory.
func TestInbox(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	source := rand.NewChaCha8([32]byte{})
	for range 200 {
		var b inbox
		var in, out bytes.Buffer
		for range 300 {
			switch r.IntN(3) {
			case 0, 1:
				space := b.space()
				if len(space) == 0 {
					t.Fatal("no space")
				}
				if r.IntN(2) == 0 { // somebody reads meanwhile
					p := make([]byte, r.IntN(40_000))
					out.Write(p[:b.read(p)])
				}
				n := r.IntN(len(space) + 1)
				source.Read(space[:n])
				in.Write(space[:n])
				b.filled(n)
			case 2:
				p := make([]byte, r.IntN(40_000))
				out.Write(p[:b.read(p)])
			}
			if held := len(b.pieces) * pieceSize; held > b.n+2*pieceSize {
				t.Fatalf("%d bytes take %d", b.n, held)
			}
		}
		p := make([]byte, b.n)
		out.Write(p[:b.read(p)])
		if !bytes.Equal(in.Bytes(), out.Bytes()) || b.pieces != nil {
			t.Fatalf("%d bytes in, %d out, %d pieces left", in.Len(), out.Len(), len(b.pieces))
		}
	}
	for _, filling := range []bool{false, true} {
		var b inbox
		for range 3 {
			b.filled(len(b.space()))
		}
		if filling {
			b.space()
		}
		b.drop()
		if filling {
			b.filled(5)
		}
		b.filled(len(b.space()))
		if p := make([]byte, 10); b.n != 0 || b.pieces != nil || b.read(p) != 0 {
			t.Errorf("dropped, it holds %d bytes in %d pieces", b.n, len(b.pieces))
		}
	}
}
