package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Every peer that is found gets back what it sends. Gateways come and go meanwhile.
func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "https://gateway.example:4433", client.Config{
		Gateways: []string{"https://another.example:4433"},
		Token:    []byte("secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	topic, err := c.Join(ctx, wtproto.TopicFromName("wowcool"), client.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := topic.Accept(ctx)
		if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code == wtproto.CodeTokenExpired {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			if _, err := io.Copy(conn, conn); err != nil {
				fmt.Println(conn.RemoteAddr(), err)
			}
		}()
	}
}

// Somebody who looks at a program may want to know whether it is connected.
func ExampleClient_Events() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "https://gateway.example:4433", client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for e := range c.Events(ctx) {
		switch e := e.(type) {
		case client.Connected:
			fmt.Println("connected to", e.Gateway)
		case client.Disconnected:
			fmt.Println("lost the gateway:", e.Err)
		case client.Reconnecting:
			fmt.Printf("attempt %d in %v\n", e.Attempt, e.Delay)
		}
	}
	fmt.Println("no more:", c.Err())
}
