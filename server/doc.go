// Package server is the gateway as a library: it accepts QUIC and WebTransport sessions on one UDP
// socket, joins topics on the networks that it is given, and gives every session one native stream
// for each peer, and more as its client asks for them (docs/PROTOCOL.md).
//
//	gateway, err := server.New(server.Config{
//		TLS: source.TLSConfig(), Hashes: source.Hashes, Networks: networks,
//	})
//	socket, err := net.ListenPacket("udp", ":4433")
//	err = gateway.Serve(socket)
//
// # A server's life
//
//   - [New] takes a [Config], reports every mistake in it, and starts nothing. Package certs has
//     what goes into TLS and Hashes, and package discovery and those below it the networks.
//   - [Server.Serve] takes a socket, and returns [net/http.ErrServerClosed] after one of the next
//     two. [Server.Started] and [Server.Addr] tell when and where it listens.
//   - [Server.Shutdown] ends kindly: clients are told to go elsewhere, and circuits have as long
//     as its context.
//   - [Server.Close] ends at once.
//
// The caller keeps what it passed in: certificates, networks and the socket are the caller's to
// close, after Serve has returned.
//
// # What it tells
//
//   - [Server.InfoHandler] answers for the info document, by which clients find the gateway, and
//     [Server.Info] is what that says.
//   - [Server.TopicsHandler] and [Server.Topics] are for operators: topics, networks and peers.
//   - [Server.Stats], [Server.Sessions] and [Config.Observer] are for metrics.
//   - [Config.Authorizer] decides who may come in, and what they may do; package auth has ways to
//     do it.
//
// Package servertest runs a gateway in a test. docs/ARCHITECTURE.md tells how this package works
// inside.
package server
