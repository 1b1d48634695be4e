package secret

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// pipeWindow is how many bytes a pipe holds that nobody has read.
const pipeWindow = 128 << 10

// flow is one direction of a pipe.
type flow struct {
	mu       sync.Mutex
	changed  sync.Cond
	held     []byte
	sent     bytes.Buffer // all that was written
	discard  bool         // keeps nothing in sent
	window   int
	fin      bool
	err      error
	deadline *time.Timer
	late     bool
}

func newFlow() *flow {
	f := &flow{window: pipeWindow}
	f.changed.L = &f.mu
	return f
}

func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.changed.Broadcast()
}

// pipe is one end of a circuit in memory.
type pipe struct {
	in, out *flow
	reset   chan wtproto.Code // takes the first code that this end was reset with by its own side
}

// newPipe returns both ends of a circuit.
func newPipe() (a, b *pipe) {
	x, y := newFlow(), newFlow()
	return &pipe{x, y, make(chan wtproto.Code, 1)}, &pipe{y, x, make(chan wtproto.Code, 1)}
}

func (p *pipe) Read(b []byte) (int, error) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	for {
		switch {
		case p.in.err != nil:
			return 0, p.in.err
		case p.in.late:
			return 0, os.ErrDeadlineExceeded
		case len(p.in.held) > 0:
			n := copy(b, p.in.held)
			p.in.held = p.in.held[n:]
			p.in.changed.Broadcast()
			return n, nil
		case p.in.fin:
			return 0, io.EOF
		}
		p.in.changed.Wait()
	}
}

func (p *pipe) Write(b []byte) (n int, err error) {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	for len(b) > 0 {
		room := p.out.window - len(p.out.held)
		switch {
		case p.out.err != nil:
			return n, p.out.err
		case p.out.fin:
			return n, net.ErrClosed
		case room <= 0:
			p.out.changed.Wait()
			continue
		}
		part := b[:min(room, len(b))]
		p.out.held = append(p.out.held, part...)
		if !p.out.discard {
			p.out.sent.Write(part)
		}
		n += len(part)
		b = b[len(part):]
		p.out.changed.Broadcast()
	}
	return n, nil
}

func (p *pipe) CloseWrite() error {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	p.out.fin = true
	p.out.changed.Broadcast()
	return p.out.err
}

func (p *pipe) Reset(code wtproto.Code) {
	select {
	case p.reset <- code:
	default:
	}
	for _, f := range []*flow{p.in, p.out} {
		f.end(&wtproto.Error{Code: code, Remote: true})
	}
}

func (p *pipe) Close() error {
	p.CloseWrite()
	go io.Copy(io.Discard, p)
	return p.SetReadDeadline(time.Time{})
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	f := p.in
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deadline != nil {
		f.deadline.Stop() // it may be waiting for mu
	}
	f.deadline, f.late = nil, false
	if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(max(0, time.Until(t)), func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.deadline == timer {
				f.late = true
				f.changed.Broadcast()
			}
		})
		f.deadline = timer
	}
	f.changed.Broadcast()
	return nil
}

// testRoom returns a room of a fixed secret with an identity of its own.
func testRoom() *Room { return NewRoom(Secret{1}, nil) }

// sealBoth seals both ends of a pipe. Either result may be an error.
func sealBoth(t *testing.T, a, b *Room, x, y Circuit) (first, second *Conn, err1, err2 error) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() { first, err1 = a.SealCircuit(t.Context(), x, true) })
	second, err2 = b.SealCircuit(t.Context(), y, false)
	wg.Wait()
	return first, second, err1, err2
}

// sealedPair returns a sealed circuit's two ends, the initiator first, and the pipe under them.
// interval is that of keys.
func sealedPair(t *testing.T, interval uint64) (a, b *Conn, x, y *pipe) {
	t.Helper()
	x, y = newPipe()
	one, two := testRoom(), testRoom()
	one.interval, two.interval = interval, interval
	a, b, err1, err2 := sealBoth(t, one, two, x, y)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Reset(wtproto.CodeNone)
		b.Reset(wtproto.CodeNone)
	})
	return a, b, x, y
}

// wantProtocol fails unless err is an error of this side with CodeProtocol.
func wantProtocol(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Remote || e.Code != wtproto.CodeProtocol {
		t.Fatalf("error %v, want PROTOCOL of this side", err)
	}
}
