package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/swarmgate/swarmgate/internal/udp"
)

// handed returns the sockets that whoever has started the program opened for it, as systemd does
// for a .socket unit (sd_listen_fds(3)): one of UDP and one of TCP, with the same port. Without
// such sockets ok is false.
func handed() (b both, ok bool, err error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return both{}, false, nil
	}
	defer func() {
		if err != nil {
			b.close()
			b = both{}
		}
	}()
	for _, f := range files {
		err = errors.Join(err, b.take(f))
		f.Close() // what was taken of it is a copy
	}
	switch {
	case err != nil:
	case b.udp == nil || b.tcp == nil:
		err = errors.New("want a socket of UDP and one of TCP: ListenDatagram= and ListenStream=")
	case ipPort(b.udp.LocalAddr()).Port() != ipPort(b.tcp.Addr()).Port():
		err = fmt.Errorf("the ports of UDP (%v) and TCP (%v) differ", b.udp.LocalAddr(), b.tcp.Addr())
	}
	return b, true, err
}

// take makes f one of both.
func (b *both) take(f *os.File) error {
	if socket, err := net.FilePacketConn(f); err == nil {
		conn, isUDP := socket.(*net.UDPConn)
		if !isUDP || b.udp != nil {
			socket.Close()
			return fmt.Errorf("%v is not wanted: one socket of UDP is", socket.LocalAddr())
		}
		if b.udp, err = udp.Wrap(conn); err != nil {
			conn.Close()
		}
		return err
	}
	listener, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("neither a socket nor a listener: %w", err)
	}
	if _, isTCP := listener.(*net.TCPListener); !isTCP || b.tcp != nil {
		listener.Close()
		return fmt.Errorf("%v is not wanted: one listener of TCP is", listener.Addr())
	}
	limitSegments(listener)
	b.tcp = listener
	return nil
}

// close closes what there is.
func (b *both) close() {
	if b.udp != nil {
		b.udp.Close()
	}
	if b.tcp != nil {
		b.tcp.Close()
	}
}
