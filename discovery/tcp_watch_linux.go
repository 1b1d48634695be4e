package discovery

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/wtproto"
)

// silence is what a machine may leave what was sent to it without any answer, before it counts as
// dead.
const silence = 35 * time.Second

// unansweredMin is how often bytes must have been sent again in that time.
const unansweredMin = 4

// watch looks after a connection. TCP_USER_TIMEOUT would be one option less to write, but it also
// ends connections with a peer that answers and just does not read, which is no more than
// back-pressure.
type watch struct {
	every, silence time.Duration
	waits          time.Time // since when bytes are unanswered, zero if none are
	answer         time.Time // the last one
	sent           uint32    // again, when that came
	closed         bool      // it was, the last time
}

func newWatch() watch { return watch{every: WatchEvery, silence: silence} }

// OnLost looks after the connection.
func (s *tcpStream) OnLost(f func(error)) (stop func()) {
	w := s.watch
	return Watch(w.every, func() error { return w.look(s) }, f)
}

// look returns why the connection has ended, if nobody else can notice.
func (w *watch) look(s *tcpStream) error {
	var info *unix.TCPInfo
	var unread int
	now := time.Now()
	err := s.calls.raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	})
	if err != nil || info == nil { // closed by its owner
		return nil
	}
	answer := now.Add(-time.Duration(info.Last_ack_recv) * time.Millisecond)
	if answer.Sub(w.answer) > 20*time.Millisecond { // a new one: two of the kernel's ticks are no difference
		w.answer, w.sent = answer, info.Total_retrans
	}
	switch {
	case info.State == unix.BPF_TCP_CLOSE:
		// A Read would be told, unless it was told of the peer's end before. Our own end, if it
		// was sent, is sent before the connection can close by it. Whoever just read the peer's
		// end gets the time to pass it on.
		if !s.sawEOF.Load() || s.sentEOF.Load() {
			return nil
		}
		if !w.closed {
			w.closed = true
			return nil
		}
		return tcpError(s.calls.cause(syscall.EPIPE))
	case info.Unacked == 0:
		w.waits = time.Time{}
	case w.waits.IsZero():
		w.waits = now
	// A peer that does not read is asked after ever longer pauses, and answers each time: so some
	// questions in a row count.
	case unread == 0 && now.Sub(w.waits) >= w.silence && now.Sub(w.answer) >= w.silence && info.Total_retrans-w.sent >= unansweredMin:
		return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "no sign of life", Err: errSilent}
	}
	return nil
}

var errSilent = errors.New("discovery: what was sent is not answered")
