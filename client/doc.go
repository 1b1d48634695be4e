// Package client joins topics through a gateway, over one QUIC connection, and accepts a
// [net.Conn] for every peer that is found on them (docs/PROTOCOL.md).
//
//	c, err := client.Dial(ctx, "https://gateway.example:4433", client.Config{})
//	t, err := c.Join(ctx, wtproto.TopicFromName("wowcool"), client.JoinOptions{})
//	for {
//		conn, err := t.Accept(ctx)
//		go talk(conn) // exactly one of the two ends has conn.Peer().Initiator set
//	}
//
// [Dial] opens a session, [Client.Join] a [Topic], [Topic.Accept] returns its circuits. A circuit
// that is not read holds up its own peer only: the gateway sends on each as much as the client's
// budget allows ([Config.Budget]).
//
// What ended is told by typed errors: where one side gave a code, the chain of every error of this
// package holds an [*wtproto.Error], with Remote set where the gateway or the peer decided. What
// the caller closed itself fails with [net.ErrClosed].
//
// A session that was lost is followed by another one, with one of the gateways ([Config.Gateways]),
// unless the error is permanent: topics are joined again, [Topic.Accept] goes on with new circuits,
// and those of the lost session end with CodePeerGone. [Client.Events] tells of it.
//
// The bytes of circuits are not encrypted end to end: the gateway sees them.
package client
