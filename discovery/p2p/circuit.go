package p2p

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-yamux/v5"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// circuit is a stream that both hosts have agreed on. It is a [discovery.Stream].
type circuit struct {
	s     network.Stream // without the layer that chose the protocol
	freed func()         // called once, when the caller is done with the circuit

	ended    atomic.Bool // freed was called
	readEnd  atomic.Bool // Read has returned io.EOF
	writeEnd atomic.Bool // CloseWrite has succeeded

	// yamux reads the bytes that are there, and then tells the other side that there is room
	// again. If the read deadline passes in between, it never tells that, and the stream stalls in
	// the end. So we set its deadline only under mu, and read available bytes only under mu.
	mu       sync.Mutex
	deadline time.Time   // guarded by mu
	passed   bool        // guarded by mu; the deadline has passed, and yamux knows
	timer    *time.Timer // guarded by mu; calls pass, nil before the first deadline
}

var (
	_ discovery.Stream   = (*circuit)(nil)
	_ discovery.Windowed = (*circuit)(nil)
)

// newCircuit makes a circuit of s, whose deadlines must be unset. It calls freed once, when its
// owner is done with it.
func newCircuit(s network.Stream, freed func()) *circuit { return &circuit{s: s, freed: freed} }

// ReadWindow makes the circuit a [discovery.Windowed].
func (c *circuit) ReadWindow() (initial, most int64) { return StreamWindow / 4, StreamWindow }

// Read reads what there is, and waits if there is nothing.
func (c *circuit) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := c.read(p)
		switch {
		case n > 0:
			return n, nil // an error of yamux beside bytes comes again, unless the stream has ended regularly by then
		case err == nil || errors.Is(err, yamux.ErrTimeout): // the deadline was moved
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		case errors.Is(err, io.EOF):
			c.readEnd.Store(true)
			return 0, io.EOF
		default:
			return 0, failure(err)
		}
	}
}

func (c *circuit) read(p []byte) (int, error) {
	_, err := c.s.Read(nil) // waits
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed {
		return 0, os.ErrDeadlineExceeded
	}
	if err != nil {
		return 0, err
	}
	return c.s.Read(p)
}

// SetReadDeadline sets when a read fails.
func (c *circuit) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.timer != nil {
		c.timer.Stop()
	}
	left := time.Until(t)
	if err := c.passLocked(!t.IsZero() && left <= 0); err != nil || t.IsZero() || left <= 0 {
		return err
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(left, c.pass)
	} else {
		c.timer.Reset(left)
	}
	return nil
}

// pass is called when a deadline has passed. The deadline may have moved since.
func (c *circuit) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() && time.Until(c.deadline) <= 0 {
		_ = c.passLocked(true) // it fails only if the stream has ended, which Read sees
	}
}

func (c *circuit) passLocked(passed bool) error {
	if passed == c.passed {
		return nil
	}
	c.passed = passed
	if passed {
		return c.s.SetReadDeadline(time.Unix(1, 0))
	}
	return c.s.SetReadDeadline(time.Time{})
}

// Write writes all of p, or fails.
func (c *circuit) Write(p []byte) (int, error) {
	n, err := c.s.Write(p)
	if err != nil {
		err = failure(err)
	}
	return n, err
}

// CloseWrite sends the end.
func (c *circuit) CloseWrite() error {
	if err := c.s.CloseWrite(); err != nil {
		return failure(err)
	}
	c.writeEnd.Store(true)
	return nil
}

// Reset ends both directions.
func (c *circuit) Reset(code wtproto.Code) {
	_ = c.s.ResetWithError(network.StreamErrorCode(code)) // fails only if the stream has ended
	c.free()
}

// Close frees the stream.
func (c *circuit) Close() error {
	if !c.readEnd.Load() || !c.writeEnd.Load() {
		c.Reset(wtproto.CodeNone)
		return nil
	}
	err := c.s.Close()
	c.free()
	return err
}

// OnLost observes the connection after the other side's end was read. From then on no Read reports
// a loss.
func (c *circuit) OnLost(f func(error)) (stop func()) {
	var before bool // a reader that has just seen the end gets the time to pass it on
	return discovery.Watch(discovery.WatchEvery, func() error {
		lost := c.readEnd.Load() && c.s.Conn().IsClosed() && !c.writeEnd.Load()
		if !lost || !before {
			before = lost
			return nil
		}
		return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "the connection with the host was lost"}
	}, f)
}

func (c *circuit) free() {
	if c.ended.Swap(true) {
		return
	}
	_ = c.SetReadDeadline(time.Time{}) // stops the timer
	c.freed()
}

// failure returns the meaning of an error of a stream that is neither the end nor a timeout. It
// looks at err only, because the stream or its connection may have changed since.
func failure(err error) *wtproto.Error {
	if e, ok := errors.AsType[*network.StreamError](err); ok {
		code := wtproto.Code(e.ErrorCode)
		if e.Remote && code == wtproto.CodeNone {
			code = wtproto.CodePeerReset
		}
		return &wtproto.Error{Code: code, Remote: e.Remote}
	}
	if e, ok := errors.AsType[*network.ConnError](err); ok && !e.Remote {
		return &wtproto.Error{Code: wtproto.CodeShutdown, Reason: "this host has closed the connection", Err: err}
	}
	if isBareReset(err) {
		return &wtproto.Error{Code: wtproto.CodePeerReset, Remote: true}
	}
	return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "the connection with the host was lost", Err: err}
}

// isBareReset reports whether err says that the other host reset the stream without a code, as
// some do. The error at the end of a connection is a yamux.ErrStreamReset too, but wraps another
// error.
func isBareReset(err error) bool {
	for err != nil {
		if err == yamux.ErrStreamReset {
			return true
		}
		several, ok := err.(interface{ Unwrap() []error })
		if !ok {
			err = errors.Unwrap(err)
			continue
		}
		return slices.Contains(several.Unwrap(), error(yamux.ErrStreamReset))
	}
	return false
}
