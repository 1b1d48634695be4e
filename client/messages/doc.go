// Package messages sends texts, JSON values and bytes over a connection, each with its length
// before it, so that every message arrives as it was sent. docs/MESSAGES.md has the bytes;
// swarmgate/messages is the same for browsers.
//
// [New] makes a [Conn] of any [io.ReadWriter], such as a circuit of package client, a [net.Conn]
// or one end of a [net.Pipe]. Both ends make one, and then either may send at any time:
//
//	conn := messages.New(circuit, messages.Config{})
//	err := conn.SendJSON(ctx, Move{From: "e2", To: "e4"})
//	answer, err := messages.ReceiveJSON[Move](ctx, conn)
//
// [Conn.Receive] returns the next message whatever its kind is, [Conn.All] ranges over them. A
// peer that does not read makes Send wait, so neither end has more than one message in memory.
//
// The connection stays the caller's: it closes it, half of it (CloseWrite), or resets it. After
// CloseWrite of one end, Receive of the other one returns [io.EOF].
package messages
