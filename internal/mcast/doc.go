// Package mcast speaks multicast UDP on a LAN: one socket a family, joined on the interfaces that
// it is told of, for protocols that share a port with other programs of the machine.
//
// [Listen] opens a [Conn], [Conn.SetInterfaces] says what the LAN is now and is called again
// whenever that changes, [Conn.Run] receives, and [Conn.Send] sends out of one interface. The
// caller says what the group, the port and the bytes are.
//
// What [Conn.Run] passes on comes from the link (RFC 6762, 11): packets to the group, which no
// router forwards, and those to an address of this machine that come from a subnet of the interface
// that they came in on with a hop limit of 255, which nobody beyond a router can send, whatever
// source it claims. All else is dropped, and so is what came in on other interfaces. A neighbour on
// the link can still claim the address of another one.
package mcast
