// Package client joins topics through a gateway, over one QUIC connection, and gives a [net.Conn]
// for every stream with a peer (docs/PROTOCOL.md). On networks without UDP it speaks WebSocket
// ([Config.Transports]).
//
//	c, err := client.Dial(ctx, "swarmgate://gateway.example:4433/?h=HASH", client.Config{})
//	topic, err := c.Join(ctx, wtproto.TopicFromName("wowcool"), client.JoinOptions{Streams: true})
//	for conn, err := range topic.Conns(ctx) {
//		go talk(conn)
//	}
//
// # Peers and streams
//
// [Dial] opens a session, [Discover] finds the address for it, and [Client.Join] joins a [Topic].
// Each peer that is found there gets a first stream by itself, a [Conn] (the protocol calls it a
// circuit). After that:
//
//   - [Topic.Open] opens as many more with a peer as a program needs, in one round trip each.
//   - [Topic.Accept], and [Topic.Conns] in a loop, return the streams that the gateway and peers
//     open. Those beside the first one have [Peer.Further] set, and come only with
//     [JoinOptions.Streams].
//   - [Topic.Listen] makes a [net.Listener] of that: http.Serve(topic.Listen(), handler).
//   - [Topic.DialContext] is the other side of it, as [net/http.Transport.DialContext]: it waits
//     for a peer that takes streams, and goes to the next one when that has gone.
//   - [Topic.Peers] tells who is here now, and [Topic.Events] who joins and leaves. Peers come
//     after [Client.Join] has returned.
//   - [Topic.Close] leaves the topic. Streams that were accepted go on. [Client.Shutdown] ends all
//     in order, so that peers see no error.
//
// The other end of a stream is a stream as well, or a TCP connection: nothing is multiplexed in
// between. One that is not read holds up its own peer only, since the gateway sends on each as
// much as the client's budget allows ([Config.Budget]).
//
// # Errors and news
//
// Typed errors tell what ended: if one side gave a code, the chain of every error of this package
// holds an [*wtproto.Error], with Remote set if the gateway or the peer decided. What the caller
// closed itself fails with [net.ErrClosed].
//
// A session that was lost is followed by another one, with one of the gateways ([Config.Gateways]),
// unless the error is permanent: topics are joined again, [Topic.Accept] goes on with new streams,
// and those of the lost session end with CodePeerGone. [Client.Events] tells of it. Done and Err of
// a client and of a topic tell of their end.
//
// The bytes of streams are not encrypted end to end, and the gateway sees them, unless package
// [github.com/swarmgate/swarmgate/client/secret] seals the streams.
//
// # Examples
//
// A web server and client are in example_http_test.go, a reverse tunnel in
// example_tunnel_test.go, a chat in example_chat_test.go. Package servertest runs a gateway in a
// test.
package client
