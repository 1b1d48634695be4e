package discovery

import "golang.org/x/sys/unix"

// acknowledge has the kernel acknowledge at once what was read from the connection. Else it may
// put that off for 40 ms, to see whether an answer can carry it. The kernel forgets the option, so
// it is set again after each read.
func acknowledge(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}
