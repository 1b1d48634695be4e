//go:build unix

package discovery

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// shortRead is how long a read may be that is acknowledged soon, if it has left nothing: a peer with
// Nagle's algorithm may wait for that before it sends the rest. That is done when the next read has
// to wait, so that the bytes go on first. During bulk transfers the kernel acknowledges soon enough.
const shortRead = 16 << 10

// calls makes the system calls of a connection, one read and one write at a time.
type calls struct {
	faults
	raw     syscall.RawConn
	in, out transfer
	owed    bool // an acknowledgement of what the last read has brought; owned by the caller of read
}

// transfer is one read or write, owned by the caller of read or write.
type transfer struct {
	call func(fd uintptr) bool // reports whether it is done; made once, because a new one each time would take memory
	b    []byte                // to be read into, or still to be written
	n    int
	err  error
}

func (c *calls) init(conn *net.TCPConn) (err error) {
	c.in.call, c.out.call = c.tryRead, c.tryWrite
	c.raw, err = conn.SyscallConn()
	return err
}

// read reads from the connection.
func (c *calls) read(b []byte) (int, error) {
	c.in.b, c.in.n, c.in.err = b, 0, nil
	err := c.raw.Read(c.in.call)
	c.in.b = nil
	switch {
	case err != nil:
		return 0, err
	case c.in.err == nil && c.in.n == 0:
		return 0, io.EOF
	}
	return c.in.n, c.in.err
}

func (c *calls) tryRead(fd uintptr) bool {
	c.in.n, c.in.err = c.system(syscall.Read, fd, c.in.b)
	switch n := c.in.n; {
	case n > 0:
		c.owed = n < len(c.in.b) && n <= shortRead
	case c.owed && c.in.err == syscall.EAGAIN:
		c.owed = false
		acknowledge(fd)
	}
	return c.in.err != syscall.EAGAIN
}

// write writes to the connection.
func (c *calls) write(b []byte) (int, error) {
	c.out.b, c.out.n, c.out.err = b, 0, nil
	err := c.raw.Write(c.out.call)
	c.out.b = nil
	if err != nil {
		return c.out.n, err
	}
	return c.out.n, c.out.err
}

func (c *calls) tryWrite(fd uintptr) bool {
	for c.out.err = nil; len(c.out.b) > 0 && c.out.err == nil; {
		var n int
		n, c.out.err = c.system(syscall.Write, fd, c.out.b)
		c.out.n, c.out.b = c.out.n+n, c.out.b[n:]
	}
	return c.out.err != syscall.EAGAIN
}

// system makes one system call, and records its answer.
func (c *calls) system(call func(int, []byte) (int, error), fd uintptr, b []byte) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for {
		switch n, err := call(int(fd), b); err {
		case syscall.EINTR:
		case nil:
			return n, nil
		case syscall.EAGAIN:
			return 0, err
		default:
			c.note(err)
			return 0, err
		}
	}
}

// ask records what the kernel would report to the next system call.
func (c *calls) ask() {
	_ = c.raw.Control(func(fd uintptr) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && n != 0 {
			c.note(syscall.Errno(n))
		}
	})
}
