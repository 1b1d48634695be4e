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

// Every peer that is found gets back what it sends, until the gateway goes away.
func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "https://gateway.example:4433", client.Config{Token: []byte("secret")})
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
		if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code == wtproto.CodeShutdown {
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
