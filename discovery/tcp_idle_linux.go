package discovery

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// idle waits for all connections of the program that have nothing to read.
var idle poller

// poller waits for connections to become readable, in one goroutine that is there while any of them
// waits. The zero value is ready, and any goroutine may call its methods.
//
// The runtime does the same for each Read that waits, but needs a goroutine for each: 2.5 KB.
type poller struct {
	mu      sync.Mutex
	epoll   *os.File           // guarded by mu; nil while no connection waits
	fd      int                // guarded by mu; that of epoll
	waiting map[uint64]*waiter // guarded by mu; by id
	last    uint64             // guarded by mu; the last id
}

// waiter is a connection's part in a poller. The zero value waits for nothing.
type waiter struct {
	id uint64 // guarded by the poller's mu; 0 while it does not wait
	f  func() // guarded by the poller's mu
}

// OnReadable makes the stream a [Readable].
func (s *tcpStream) OnReadable(f func()) bool { return idle.wait(s.calls.raw, &s.waiter, f) }

// wait has f called in a goroutine of its own when a read of conn would not wait, or once w was told
// of its end by closed. It returns false, and will not call f, if conn is closed or the kernel
// refuses.
func (p *poller) wait(conn syscall.RawConn, w *waiter, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoll == nil && p.start() != nil {
		return false
	}
	p.last++
	p.waiting[p.last] = w
	w.id, w.f = p.last, f
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(p.last), Pad: int32(p.last >> 32)}
	err := net.ErrClosed
	_ = conn.Control(func(fd uintptr) {
		err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(fd), &event)
		if err == unix.EEXIST { // it has waited before
			err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, int(fd), &event)
		}
	})
	if err != nil {
		p.take(p.last)
	}
	return err == nil
}

// closed has f called of a connection that was closed, which the kernel no longer says anything of.
func (p *poller) closed(w *waiter) {
	p.mu.Lock()
	f := p.take(w.id)
	p.mu.Unlock()
	if f != nil {
		go f()
	}
}

// take returns what is to be called of the connection with an id, and forgets it, or nil if none
// waits. The caller holds mu.
func (p *poller) take(id uint64) func() {
	w := p.waiting[id]
	if w == nil {
		return nil
	}
	delete(p.waiting, id)
	f := w.f
	*w = waiter{}
	if len(p.waiting) == 0 {
		_ = p.epoll.Close()
		p.epoll = nil
	}
	return f
}

// start makes the epoll instance, and starts run. The caller holds mu.
func (p *poller) start() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	_ = unix.SetNonblock(fd, true) // so that the runtime waits for it, without a thread
	epoll := os.NewFile(uintptr(fd), "epoll")
	raw, err := epoll.SyscallConn()
	if err != nil {
		_ = epoll.Close()
		return err
	}
	p.epoll, p.fd, p.waiting = epoll, fd, make(map[uint64]*waiter)
	go p.run(raw)
	return nil
}

// run calls who waits, until epoll is closed.
func (p *poller) run(epoll syscall.RawConn) {
	var events [64]unix.EpollEvent
	for {
		n := 0
		err := epoll.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || err == unix.EINTR
		})
		if err != nil {
			return
		}
		for _, e := range events[:max(n, 0)] {
			p.mu.Lock()
			f := p.take(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
			p.mu.Unlock()
			if f != nil {
				go f()
			}
		}
	}
}
