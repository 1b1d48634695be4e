package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway in a program of one's own, whose clients meet each other and a TCP service.
func Example() {
	state, err := certs.OpenStateDir("") // a directory, in a real one: certificates outlive the process
	if err != nil {
		log.Fatal(err)
	}
	defer state.Close()
	source, err := certs.NewPinned(state, certs.PinnedConfig{})
	if err != nil {
		log.Fatal(err)
	}
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		log.Fatal(err)
	}
	service, err := static.Parse("wowcool=tcp://127.0.0.1:7007")
	if err != nil {
		log.Fatal(err)
	}
	network, err := static.New(static.Config{Peers: []static.Peer{service}, Policy: policy})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()

	gateway, err := server.New(server.Config{
		TLS:      source.TLSConfig(),
		Hashes:   source.Hashes,
		Networks: []discovery.Network{network},
	})
	if err != nil {
		log.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	served := make(chan error, 1)
	go func() { served <- gateway.Serve(socket) }()
	<-gateway.Started()

	web := httptest.NewServer(gateway.InfoHandler()) // over https, or on loopback as here
	defer web.Close()
	resp, err := http.Get(web.URL + wtproto.InfoPath)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var info wtproto.Info
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Certificate.Kind, len(info.Certificate.Hashes), info.QUIC == socket.LocalAddr().String())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := gateway.Shutdown(ctx); err != nil { // waits for circuits
		log.Fatal(err)
	}
	fmt.Println(errors.Is(<-served, http.ErrServerClosed))
	// Output:
	// pinned 2 true
	// true
}
