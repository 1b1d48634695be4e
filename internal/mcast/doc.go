// Package mcast speaks multicast UDP on a LAN: one socket a family, joined on given interfaces,
// for protocols that share a port with other programs of the machine.
//
// [Listen] opens a [Conn], [Conn.SetInterfaces] sets the interfaces of the LAN whenever they
// change, [Conn.Run] receives, and [Conn.Send] sends out of one interface. The caller chooses the
// group, the port and the bytes.
//
// What [Conn.Run] passes on comes from the link (RFC 6762, 11): packets to the group, which no
// router forwards, and those to an address of this machine that come from a subnet of the
// interface that they came in on with a hop limit of 255, which nobody beyond a router can send,
// whatever source it claims. It drops everything else, and packets of other interfaces. A
// neighbour on the link can still forge the address of another one.
package mcast
