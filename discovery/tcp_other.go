//go:build !unix

package discovery

import "net"

// calls makes the system calls of a connection. On these systems the kernel reports a reset to
// every call.
type calls struct {
	faults
	conn *net.TCPConn
}

func (c *calls) init(conn *net.TCPConn) error {
	c.conn = conn
	return nil
}

func (c *calls) read(b []byte) (int, error) { return c.conn.Read(b) }

func (c *calls) write(b []byte) (int, error) { return c.conn.Write(b) }

func (c *calls) ask() {}
