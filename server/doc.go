// Package server is the gateway as a library: it accepts QUIC and WebTransport sessions on one UDP
// socket, joins topics on the networks that it is given, and gives every session one native stream
// for each peer.
//
// [New] takes a [Config], [Server.Serve] a socket, [Server.Shutdown] ends kindly and
// [Server.Close] at once. [Server.InfoHandler] and [Server.TopicsHandler] answer HTTP for whoever
// wants to serve it. The caller keeps what it passed in: certificates, networks and the socket are
// the caller's to close, after Serve has returned.
//
// The rooms inside, from the outside in: accept.go takes connections, link.go hides whether they
// are raw QUIC or WebTransport, session.go speaks the protocol with one client, router.go finds
// the loop of a topic, topic.go is that loop, mesh.go and dials.go decide who is connected to whom
// and who is dialed next, circuit.go moves the bytes, and memory.go ends circuits that wait when
// memory is short.
package server
