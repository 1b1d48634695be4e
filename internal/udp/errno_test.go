//go:build !windows

package udp

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

func sendError(errno syscall.Errno) error {
	return &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmsg", errno)}
}

func TestTransientErrorsAreReportedAsSent(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		sent bool
	}{
		{"no error", nil, true},
		{"ENETUNREACH", sendError(syscall.ENETUNREACH), true},
		{"EHOSTUNREACH", sendError(syscall.EHOSTUNREACH), true},
		{"EHOSTDOWN", sendError(syscall.EHOSTDOWN), true},
		{"ENETDOWN", sendError(syscall.ENETDOWN), true},
		{"EADDRNOTAVAIL", sendError(syscall.EADDRNOTAVAIL), true},
		{"EPERM", sendError(syscall.EPERM), true},
		{"EACCES", sendError(syscall.EACCES), true},
		{"EINVAL", sendError(syscall.EINVAL), true},
		{"ENOBUFS", sendError(syscall.ENOBUFS), true},
		{"EMSGSIZE tells of the path's MTU", sendError(syscall.EMSGSIZE), false},
		{"EIO tells that there is no GSO", sendError(syscall.EIO), false},
		{"ECONNREFUSED", sendError(syscall.ECONNREFUSED), false},
		{"closed", &net.OpError{Op: "write", Net: "udp", Err: net.ErrClosed}, false},
		{"no system error", errors.New("other"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := listen(t, "udp4", "127.0.0.1:0")
			c.send = func(b, oob []byte, _ *net.UDPAddr) (int, int, error) {
				if tc.err != nil {
					return 0, 0, tc.err
				}
				return len(b), len(oob), nil
			}
			wantN, wantOOB, wantErr := 3, 5, error(nil)
			if !tc.sent {
				wantN, wantOOB, wantErr = 0, 0, tc.err
			}
			n, oobn, err := c.WriteMsgUDP(make([]byte, 3), make([]byte, 5), addrOf(c))
			if n != wantN || oobn != wantOOB || err != wantErr {
				t.Errorf("WriteMsgUDP = %d, %d, %v; want %d, %d, %v", n, oobn, err, wantN, wantOOB, wantErr)
			}
			n, err = c.WriteTo(make([]byte, 3), addrOf(c))
			if n != wantN || err != wantErr {
				t.Errorf("WriteTo = %d, %v; want %d, %v", n, err, wantN, wantErr)
			}
		})
	}
}

// quic-go repeats a first packet that got EPERM, and never sees it here.
func TestFirstEPERMIsSentAgain(t *testing.T) {
	c := listen(t, "udp4", "127.0.0.1:0")
	var sends int
	c.send = func(b, oob []byte, addr *net.UDPAddr) (int, int, error) {
		if sends++; sends == 1 {
			return 0, 0, sendError(syscall.EPERM)
		}
		return c.UDPConn.WriteMsgUDP(b, oob, addr)
	}
	if n, err := c.WriteTo([]byte("hello"), addrOf(c)); n != 5 || err != nil {
		t.Fatalf("WriteTo = %d, %v; want 5, nil", n, err)
	}
	b := make([]byte, 100)
	if n, _, err := c.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("ReadFrom = %q, %v; want hello", b[:n], err)
	}
	if sends != 2 {
		t.Errorf("sent %d times, want 2", sends)
	}
}
