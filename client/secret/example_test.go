package secret_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
)

// Two programs that share a secret. The gateway passes on what it cannot read.
func Example() {
	gateway := servertest.NewServer(server.Config{}) // or one that runs somewhere
	defer gateway.Close()
	ctx := context.Background()
	shared := secret.New() // which the two have told each other

	ada, leave := member(ctx, gateway.URL, shared, client.JoinOptions{})
	defer leave()
	grace, leave := member(ctx, gateway.URL, shared, client.JoinOptions{})
	defer leave()

	go func() {
		conn, err := ada.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(conn, "hello from Ada")
		conn.Close()
	}()
	conn, err := grace.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	words, err := io.ReadAll(conn) // an error unless all has come, and nothing else
	fmt.Println(string(words), err, conn.Key() == ada.Room().Key())
	conn.Close()
	// Output: hello from Ada <nil> true
}

// A web server in a secret room, and a web client: each connection of theirs is a sealed circuit.
func Example_http() {
	gateway := servertest.NewServer(server.Config{})
	defer gateway.Close()
	ctx := context.Background()
	shared := secret.New()

	shop, leave := member(ctx, gateway.URL, shared, client.JoinOptions{AnnounceOnly: true})
	defer leave()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", r.URL.Query().Get("name"))
	})}
	defer web.Close()
	go web.Serve(shop.Listen())

	customer, leave := member(ctx, gateway.URL, shared, client.JoinOptions{LookUpOnly: true})
	defer leave()
	browser := &http.Client{Transport: &http.Transport{DialContext: customer.DialContext}}
	defer browser.CloseIdleConnections()
	resp, err := browser.Get("http://shop/?name=Ada") // the host does not matter
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Print(string(body))
	// Output: hello Ada
}

// member enters the room of a secret as a client of its own, which leave ends.
func member(ctx context.Context, gateway string, s secret.Secret, opts client.JoinOptions) (topic *secret.Topic, leave func()) {
	c, err := client.Dial(ctx, gateway, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	topic, err = secret.NewRoom(s, nil).Join(ctx, c, opts)
	if err != nil {
		log.Fatal(err)
	}
	return topic, func() {
		topic.Close()
		c.Close()
	}
}
