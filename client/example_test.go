package client_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Every peer that is found gets back what it sends. Gateways come and go meanwhile.
func Example() {
	gateway := servertest.NewServer(server.Config{}) // or one that runs somewhere
	defer gateway.Close()
	wowcool := wtproto.TopicFromName("wowcool")
	peer := gateway.Listen(wowcool)

	ctx := context.Background()
	c, err := client.Dial(ctx, gateway.URL, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	topic, err := c.Join(ctx, wowcool, client.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for conn, err := range topic.Conns(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()

	far, err := peer.Accept() // the peer's end
	if err != nil {
		log.Fatal(err)
	}
	defer far.Close()
	fmt.Fprint(far, "hello")
	b := make([]byte, 5)
	io.ReadFull(far, b)
	fmt.Printf("%s", b)
	// Output: hello
}

// A program has the URL of a gateway's info document, or the gateway's own URL with the hash of
// its certificate, such as another user pastes it.
func ExampleDiscover() {
	gateway := servertest.NewServer(server.Config{})
	defer gateway.Close()
	info := gateway.InfoServer()
	defer info.Close()

	ctx := context.Background()
	u, err := client.Discover(ctx, info.URL) // http, which is believed on this machine only; so Dial takes it too
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Dial(ctx, u.String(), client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	invitation := u.WithTopic("wowcool").String() // for somebody else, who reads it with:
	u, err = wtproto.ParseGatewayURL(invitation)
	if err != nil {
		log.Fatal(err)
	}
	key, _ := u.Key()
	fmt.Println(key == wtproto.TopicFromName("wowcool"), c.Session().Agent)
	// Output: true swarmgate
}

// Somebody who looks at a program may want to know whether it is connected.
func ExampleClient_Events() {
	gateway := servertest.NewServer(server.Config{})
	ctx := context.Background()
	c, err := client.Dial(ctx, gateway.URL, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for e := range c.Events(ctx) {
		switch e := e.(type) {
		case client.Connected:
			fmt.Println("connected")
			gateway.Close()
		case client.GoingAway:
			fmt.Println("the gateway goes away:", e.Reason)
		case client.Disconnected:
			fmt.Println("lost the gateway")
		case client.Reconnecting:
			fmt.Println("attempt", e.Attempt)
			return
		}
	}
	// Output:
	// connected
	// lost the gateway
	// attempt 1
}

// Who is here, without a list of one's own.
func ExampleTopic_Events() {
	gateway := servertest.NewServer(server.Config{})
	defer gateway.Close()
	wowcool := wtproto.TopicFromName("wowcool")
	peer := gateway.Listen(wowcool)
	go func() {
		conn, err := peer.Accept()
		if err != nil {
			log.Fatal(err)
		}
		conn.Close() // and nothing more
	}()

	ctx := context.Background()
	c, err := client.Dial(ctx, gateway.URL, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	topic, err := c.Join(ctx, wowcool, client.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for e := range topic.Events(ctx) {
		switch e := e.(type) {
		case client.PeerJoined:
			fmt.Println("joined:", e.Peer.Network, len(topic.Peers()))
			conn, err := topic.Accept(ctx)
			if err != nil {
				log.Fatal(err)
			}
			io.Copy(io.Discard, conn) // until the peer's end
			conn.Close()
		case client.PeerLeft:
			fmt.Println("left:", e.Peer.Network, len(topic.Peers()))
			return
		case client.Status: // what the gateway knows, such as e.Known and e.Networks
		}
	}
	// Output:
	// joined: test 1
	// left: test 0
}
