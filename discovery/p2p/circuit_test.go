package p2p

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-yamux/v5"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/splice/splicetest"
	"github.com/swarmgate/swarmgate/wtproto"
)

const window = 255 << 10 // what a circuit takes that nobody reads; the frames before it take some more

// yamux forgets to make room for what was read when the read deadline passes meanwhile: after some
// such reads the stream stands still for ever.
func TestReadDeadlineLosesNothing(t *testing.T) {
	a, b := circuitPair(t)
	const rounds, size = 16, window / 2
	go func() {
		_, _ = a.Write(pattern(rounds * size))
		_ = a.CloseWrite()
	}()
	var got []byte
	buf := make([]byte, size)
	for range rounds {
		if err := b.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read after the deadline = %d, %v", n, err)
		}
		if err := b.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(b, buf)
		got = append(got, buf[:n]...)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
	}
	if n, err := b.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("Read at the end = %d, %v", n, err)
	}
	if !slices.Equal(got, pattern(rounds*size)) {
		t.Error("other bytes were read than written")
	}
}

// The same with deadlines that pass at any moment.
func TestReadDeadlineRaces(t *testing.T) {
	a, b := circuitPair(t)
	const size = 16 << 20
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = a.Write(pattern(size))
		_ = a.CloseWrite()
	})
	stop := make(chan struct{})
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = b.SetReadDeadline(time.Now().Add(time.Duration(n%50) * time.Microsecond))
			}
		}
	})
	var got []byte
	buf := make([]byte, 100_000)
	for {
		n, err := b.Read(buf)
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if !slices.Equal(got, pattern(size)) {
		t.Error("other bytes were read than written")
	}
}

// A copy that comes to rest just when bytes come, or the other side's end, loses neither.
func TestAtRest(t *testing.T) {
	data := pattern(4 * window)
	for name, tc := range map[string]struct {
		end  func(a *circuit)
		code wtproto.Code
	}{
		"FIN":   {func(a *circuit) { _ = a.CloseWrite() }, wtproto.CodeNone},
		"reset": {func(a *circuit) { a.Reset(wtproto.CodeApplication) }, wtproto.CodeApplication},
		"lost":  {func(a *circuit) { _ = a.s.Conn().Close() }, wtproto.CodePeerGone},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := circuitPair(t)
			var got bytes.Buffer
			ended := make(chan error, 1)
			go func() { ended <- splicetest.Restless(&got, b) }()
			for part := range slices.Chunk(data, 9999) {
				if _, err := a.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			tc.end(a.(*circuit))
			err := <-ended
			if e, ok := errors.AsType[*wtproto.Error](err); tc.code == wtproto.CodeNone {
				if err != nil || !slices.Equal(got.Bytes(), data) {
					t.Errorf("%v after %d bytes, want nil after %d", err, got.Len(), len(data))
				}
			} else if !ok || e.Code != tc.code || !bytes.HasPrefix(data, got.Bytes()) {
				t.Errorf("%v after %d bytes, want %v and no other bytes than were sent", err, got.Len(), tc.code)
			}
		})
	}
}

func TestReadDeadlineUnblocks(t *testing.T) {
	a, b := circuitPair(t)
	result := make(chan error, 1)
	read := func() {
		n, err := b.Read(make([]byte, 1))
		if n > 0 {
			err = nil
		}
		result <- err
	}
	for _, tc := range []struct {
		name string
		set  func() error
	}{
		{"passed", func() error { return b.SetReadDeadline(time.Now()) }},
		{"to come", func() error { return b.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) }},
		{"moved", func() error {
			return errors.Join(b.SetReadDeadline(time.Now().Add(time.Hour)), b.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		}},
	} {
		if err := b.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go read()
		if err := tc.set(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Read = %v, want the deadline", tc.name, err)
		}
	}
	// One that was taken back does not strike.
	if err := errors.Join(b.SetReadDeadline(time.Now().Add(time.Millisecond)), b.SetReadDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	go read()
	if _, err := a.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("Read = %v, want a byte", err)
	}
}

// What came before the end can be read after it, deadline or not.
func TestReadDeadlineAfterEnd(t *testing.T) {
	a, b := circuitPair(t)
	if err := b.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %d, %v, want the deadline", n, err)
	}
	if err := b.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "last" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Reset and Close unblock what is going on.
func TestEndUnblocks(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(s interface{ Close() error })
	}{
		{"close", func(s interface{ Close() error }) { _ = s.Close() }},
		{"reset", func(s interface{ Close() error }) { s.(*circuit).Reset(7) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, _ := circuitPair(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := a.Read(make([]byte, 1)); err == nil {
					t.Error("Read succeeded")
				}
			})
			if _, err := a.Write(make([]byte, window)); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if _, err := a.Write(make([]byte, window)); err == nil {
					t.Error("Write succeeded")
				}
			})
			tc.end(a)
			wg.Wait()
		})
	}
}

// libp2p closes a TCP connection with a reset, which throws away what is still on its way.
func TestCloseSendsAll(t *testing.T) {
	const size = window
	for range 10 {
		hosts := swarmOf(t, gateway, native)
		g, n := hosts[0], hosts[1]
		accepted := make(chan discovery.Stream, 1)
		gm := join(t, g, presence(true, true, endpoint(1)), nil)
		join(t, n, discovery.Native(), func(s discovery.Stream) { accepted <- s })
		c := dial(t, gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		s := <-accepted
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		if _, err := s.Write(pattern(size)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.CloseWrite(), s.Close(), n.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !slices.Equal(got, pattern(size)) {
			t.Fatalf("read %d bytes, %v; want %d and the end", len(got), err, size)
		}
	}
}

// The stream of a host that reset it without a code and then closed the connection counted as
// lost, so that the pair was connected again: failure asked first for the error and then for the
// connection, which had ended in between.
func TestFailure(t *testing.T) {
	libp2p := func(err error) error { return fmt.Errorf("%w: %w", network.ErrReset, err) }
	lost := func(err error) error { return fmt.Errorf("%w: connection closed: %w", yamux.ErrStreamReset, err) }
	for _, tc := range []struct {
		name   string
		err    error
		code   wtproto.Code
		remote bool
	}{
		{"reset with a code", &network.StreamError{ErrorCode: 0x105, Remote: true}, 0x105, true},
		{"reset with code 0", &network.StreamError{Remote: true}, wtproto.CodePeerReset, true},
		{"reset without a code", libp2p(yamux.ErrStreamReset), wtproto.CodePeerReset, true},
		{"reset by us", &network.StreamError{ErrorCode: 0x105}, 0x105, false},
		{"connection lost", libp2p(lost(syscall.ECONNRESET)), wtproto.CodePeerGone, false},
		{"connection ended", libp2p(lost(io.EOF)), wtproto.CodePeerGone, false},
		{"no sign of life", libp2p(lost(yamux.ErrKeepAliveTimeout)), wtproto.CodePeerGone, false},
		{"connection ended while writing", io.EOF, wtproto.CodePeerGone, false},
		{"the host said goodbye", &network.ConnError{Remote: true}, wtproto.CodePeerGone, false},
		{"we closed the connection", &network.ConnError{}, wtproto.CodeShutdown, false},
	} {
		wantCode(t, tc.name, failure(tc.err), tc.code, tc.remote)
	}
}
