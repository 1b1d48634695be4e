package discovery

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmgate/swarmgate/wtproto"
)

// silence is how long a machine may acknowledge nothing before it counts as dead.
const silence = 35 * time.Second

// unansweredMin is how often the kernel must have sent bytes again in that time.
const unansweredMin = 4

// watch observes a connection. The option TCP_USER_TIMEOUT would be shorter, but it also ends
// connections with a peer that answers and only does not read. That is back-pressure, and not a
// loss.
type watch struct {
	every, silence time.Duration
	waits          time.Time // since when bytes are unacknowledged; zero if there are none
	answer         time.Time // the last one
	sent           uint32    // bytes sent again up to that answer
	closed         bool      // the kernel had closed it at the last look
}

func newWatch() watch { return watch{every: WatchEvery, silence: silence} }

// OnLost observes the connection. It is called once.
func (s *tcpStream) OnLost(f func(error)) (stop func()) {
	w := &s.watch
	return Watch(w.every, func() error { return w.look(s) }, f)
}

// look returns why the connection has ended, if only look can notice that.
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
	if answer.Sub(w.answer) > 20*time.Millisecond { // a new one: two ticks of the kernel are not a difference
		w.answer, w.sent = answer, info.Total_retrans
	}
	switch {
	case info.State == unix.BPF_TCP_CLOSE:
		// A Read would report this, unless it has returned the peer's end. If our end was sent,
		// the connection closes only after that. A reader that has just seen the peer's end gets
		// the time to pass it on.
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
	// The kernel probes a peer that does not read after ever longer pauses, and the peer answers
	// each probe. So several probes in a row must stay unanswered.
	case unread == 0 && now.Sub(w.waits) >= w.silence && now.Sub(w.answer) >= w.silence && info.Total_retrans-w.sent >= unansweredMin:
		return &wtproto.Error{Code: wtproto.CodePeerGone, Reason: "no sign of life", Err: errSilent}
	}
	return nil
}

var errSilent = errors.New("discovery: the peer acknowledges nothing")
