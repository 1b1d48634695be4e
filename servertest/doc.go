// Package servertest runs gateways in tests, as net/http/httptest runs web servers.
//
//	gw := servertest.NewServer(server.Config{})
//	defer gw.Close()
//	c, err := client.Dial(ctx, gw.URL, client.Config{})
//
// [NewServer] starts a gateway on loopback with a certificate of its own, whose hash [Server.URL]
// has. Clients meet each other on it. [Server.Listen] adds a peer that lives in the test's
// memory, and [Server.AddTCP] a TCP service. [Server.InfoServer] answers for the info document.
//
// Nothing leaves the machine: the gateway is on no network but that of these peers, unless
// [server.Config] brings others.
package servertest
