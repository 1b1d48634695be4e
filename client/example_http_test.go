package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A web server on a topic, and a web client: both are ordinary ones. Each connection of theirs is
// a stream of its own, which they keep, use again and close as any other.
func Example_http() {
	gateway := servertest.NewServer(server.Config{}) // or one that runs somewhere
	defer gateway.Close()
	ctx := context.Background()

	// Servers only announce and clients only look up, so that neither meet their own kind.
	shop, leave := member(ctx, gateway.URL, "web shop", client.JoinOptions{AnnounceOnly: true})
	defer leave()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", r.URL.Query().Get("name"))
	})}
	defer web.Close() // or Shutdown, and only then leave the topic
	go web.Serve(shop.Listen())

	customer, leave := member(ctx, gateway.URL, "web shop", client.JoinOptions{LookUpOnly: true})
	defer leave()
	browser := &http.Client{Transport: &http.Transport{
		DialContext:         customer.DialContext, // waits until there is a server
		MaxIdleConnsPerHost: 50,                   // keeps as many as are used at once; by default 2
	}}
	defer browser.CloseIdleConnections()
	var wg sync.WaitGroup
	answers := make(chan string, 50)
	for range cap(answers) { // at once
		wg.Go(func() {
			resp, err := browser.Get("http://shop/?name=Ada") // the host does not matter
			if err != nil {
				log.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answers <- string(body)
		})
	}
	wg.Wait()
	fmt.Print(len(answers), " answers, such as ", <-answers)
	// Output: 50 answers, such as hello Ada
}

// member joins a topic as a client of its own, which leave ends.
func member(ctx context.Context, gateway, name string, opts client.JoinOptions) (topic *client.Topic, leave func() error) {
	c, err := client.Dial(ctx, gateway, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	topic, err = c.Join(ctx, wtproto.TopicFromName(name), opts)
	if err != nil {
		log.Fatal(err)
	}
	return topic, c.Close
}
