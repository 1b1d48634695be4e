package secret

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A sealed circuit is a net.Conn in every way that the Go authors test.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b, _, _ := sealedPair(t, 3)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestWhatBothEndsKnow(t *testing.T) {
	x, y := newPipe()
	one, two := testRoom(), testRoom()
	a, b, err1, err2 := sealBoth(t, one, two, x, y)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if a.Key() != two.Key() || b.Key() != one.Key() {
		t.Errorf("keys %v and %v, want %v and %v", a.Key(), b.Key(), two.Key(), one.Key())
	}
	if a.Binding() != b.Binding() || a.Binding() == [32]byte{} {
		t.Errorf("bindings %x and %x", a.Binding(), b.Binding())
	}
	if !a.Initiator() || b.Initiator() {
		t.Errorf("initiators %v and %v", a.Initiator(), b.Initiator())
	}
}

// Bytes of all sizes arrive in order over many keys, both ways at once.
func TestBytesOverManyKeys(t *testing.T) {
	a, b, _, _ := sealedPair(t, 3)
	const size = 2 << 20
	var wg sync.WaitGroup
	transfer := func(from, to *Conn, seed uint64) {
		sent, got := sha256.New(), sha256.New()
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			chunk := make([]byte, 200<<10)
			for left := size; left > 0; {
				n := min(left, 1+random.IntN(len(chunk)))
				for i := range chunk[:n] {
					chunk[i] = byte(random.Uint32())
				}
				sent.Write(chunk[:n])
				if k, err := from.Write(chunk[:n]); k != n || err != nil {
					t.Errorf("Write = %d, %v", k, err)
					return
				}
				left -= n
			}
			if err := from.CloseWrite(); err != nil {
				t.Errorf("CloseWrite = %v", err)
			}
		})
		wg.Go(func() {
			if n, err := io.Copy(got, to); n != size || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
		t.Cleanup(func() {
			if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				t.Error("other bytes came than were sent")
			}
		})
	}
	transfer(a, b, 1)
	transfer(b, a, 2)
	wg.Wait()
}

// After CloseWrite the other way stays open.
func TestHalfClose(t *testing.T) {
	a, b, _, _ := sealedPair(t, 3)
	if _, err := a.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("more")); err != net.ErrClosed {
		t.Errorf("Write after CloseWrite = %v", err)
	}
	if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	for range 10 { // over several keys
		if _, err := b.Write([]byte("answer ")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a, make([]byte, 7)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Errorf("second CloseWrite = %v", err)
	}
}

// Small writes share records while the record before them is on its way.
func TestSmallWritesShareRecords(t *testing.T) {
	a, b, x, _ := sealedPair(t, rekeyInterval)
	x.out.mu.Lock()
	x.out.window = 0 // the record that the first write makes stays on its way
	before := x.out.sent.Len()
	x.out.mu.Unlock()
	const writes = 1000
	for i := range writes {
		if _, err := a.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	x.out.mu.Lock()
	x.out.window = pipeWindow
	x.out.changed.Broadcast()
	x.out.mu.Unlock()
	got := make([]byte, writes)
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatal(err)
	}
	for i, c := range got {
		if c != byte(i) {
			t.Fatalf("byte %d is %d", i, c)
		}
	}
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	// The first record has what was there when it left: at least a byte.
	if n := x.out.sent.Len() - before; n > writes+2*(2+tagSize) {
		t.Errorf("%d bytes on the wire for %d, want two records at most", n, writes)
	}
}

// One large write makes records that are full, but the last.
func TestRecordsAreFull(t *testing.T) {
	a, b, x, _ := sealedPair(t, rekeyInterval)
	before := x.out.sent.Len()
	const size = 10*maxData + 1
	go a.Write(make([]byte, size))
	if _, err := io.ReadFull(b, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	if n := x.out.sent.Len() - before; n != size+11*(2+tagSize) {
		t.Errorf("%d bytes on the wire, want %d", n, size+11*(2+tagSize))
	}
}

// A write that is larger than what is on its way waits, and its deadline ends it without harm.
func TestWriteDeadlineLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, _ := sealedPair(t, 3)
		data := make([]byte, 1<<20)
		for i := range data {
			data[i] = byte(i >> 8)
		}
		start := time.Now()
		a.SetWriteDeadline(start.Add(time.Second))
		n, err := a.Write(data)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(data) || time.Since(start) != time.Second {
			t.Fatalf("Write = %d, %v after %v", n, err, time.Since(start))
		}
		a.SetWriteDeadline(time.Time{})
		go func() {
			a.Write(data[n:])
			a.CloseWrite()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
}

// A deadline in the middle of a record does not lose what has come of it.
func TestReadDeadlineLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, x, _ := sealedPair(t, 3)
		x.out.mu.Lock()
		x.out.window = 1
		x.out.mu.Unlock()
		go func() {
			a.Write([]byte("hello"))
			a.CloseWrite()
		}()
		var got []byte
		for {
			b.SetReadDeadline(time.Now()) // at once, mostly
			p := make([]byte, 3)
			n, err := b.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if string(got) != "hello" {
			t.Errorf("read %q", got)
		}
	})
}

// Close sends what was written and the end behind it.
func TestCloseSendsTheEnd(t *testing.T) {
	a, b, _, _ := sealedPair(t, 3)
	data := make([]byte, 3*maxData)
	go func() {
		a.Write(data)
		a.Close()
		a.Close()
		if _, err := a.Read(make([]byte, 1)); err != net.ErrClosed {
			t.Errorf("Read after Close = %v", err)
		}
		if _, err := a.Write(data); err != net.ErrClosed {
			t.Errorf("Write after Close = %v", err)
		}
	}()
	got, err := io.ReadAll(b)
	if err != nil || len(got) != len(data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// If nobody reads what was written before Close, the circuit is reset after 30 s, and Close itself
// waits for a second.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, x, _ := sealedPair(t, 3)
		start := time.Now()
		a.Write(make([]byte, pipeWindow+10))
		a.Close()
		if d := time.Since(start); d != closeTime {
			t.Errorf("Close took %v", d)
		}
		if code := <-x.reset; code != wtproto.CodeNone || time.Since(start) != linger {
			t.Errorf("reset with %v after %v", code, time.Since(start))
		}
	})
}

// Both ends close while both hold more than the circuit takes: neither waits for the other's Read.
func TestBothClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, x, y := sealedPair(t, 3)
		var wg sync.WaitGroup
		for _, c := range []*Conn{a, b} {
			wg.Go(func() {
				c.Write(make([]byte, pipeWindow+10))
				c.Close()
			})
		}
		wg.Wait()
		synctest.Wait()
		for _, p := range []*pipe{x, y} {
			if len(p.reset) > 0 {
				t.Errorf("reset with %v", <-p.reset)
			}
			p.out.mu.Lock()
			if !p.out.fin {
				t.Error("no end came")
			}
			p.out.mu.Unlock()
		}
	})
}

// A Close under a Write that waits is not a regular end to the peer.
func TestCloseInterruptsWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, x, _ := sealedPair(t, 3)
		done := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			done <- err
		}()
		synctest.Wait()
		a.Close()
		if err := <-done; err != net.ErrClosed {
			t.Errorf("Write = %v", err)
		}
		if code := <-x.reset; code != wtproto.CodeNone {
			t.Errorf("reset with %v", code)
		}
		if _, err := io.ReadAll(b); err == nil {
			t.Error("the peer read a regular end")
		}
	})
}

// Reset ends both ends' calls, and the peer gets the code.
func TestReset(t *testing.T) {
	a, b, _, _ := sealedPair(t, 3)
	read := make(chan error)
	go func() {
		_, err := b.Read(make([]byte, 1))
		read <- err
	}()
	const code = wtproto.CodeApplication + 7
	a.Reset(code)
	if err := <-read; !errors.Is(err, &wtproto.Error{Code: code, Remote: true}) {
		t.Errorf("Read = %v", err)
	}
	if _, err := a.Write([]byte("x")); err != net.ErrClosed {
		t.Errorf("Write after Reset = %v", err)
	}
}

// A program that writes much to a peer that does not read it holds two records, and two that are on
// their way.
func TestMemoryIsBounded(t *testing.T) {
	a, b, x, y := sealedPair(t, rekeyInterval)
	for _, p := range []*pipe{x, y} {
		p.out.mu.Lock()
		p.out.discard = true
		p.out.mu.Unlock()
	}
	const size = 64 << 20
	go func() {
		chunk := make([]byte, 256<<10)
		for range size / len(chunk) {
			if _, err := a.Write(chunk); err != nil {
				return
			}
		}
		a.CloseWrite()
	}()
	var most uint64
	var m runtime.MemStats
	buf := make([]byte, 256<<10)
	var got int
	for step := 0; ; {
		n, err := b.Read(buf)
		if got += n; got-step >= 16<<20 {
			step = got
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got != size || most > 32<<20 {
		t.Errorf("%d bytes came, with %d bytes of heap at most", got, most)
	}
}
