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

// A chat: each message is a stream of its own to each of the others, from its first byte to its
// end. The topic knows who is here.
func Example_chat() {
	gateway := servertest.NewServer(server.Config{}) // or one that runs somewhere
	defer gateway.Close()
	ctx := context.Background()

	ada, grace := enter(ctx, gateway.URL), enter(ctx, gateway.URL)
	defer ada.client.Close()
	defer grace.client.Close()
	ada.waitFor(ctx, 1)
	grace.waitFor(ctx, 1)
	ada.say(ctx, "is anybody here?")
	fmt.Println("Grace reads:", <-grace.messages)
	grace.say(ctx, "yes, me")
	fmt.Println("Ada reads:", <-ada.messages)
	// Output:
	// Grace reads: is anybody here?
	// Ada reads: yes, me
}

// room is a chat that was entered.
type room struct {
	client   *client.Client
	topic    *client.Topic
	messages chan string
}

// enter joins the chat, and reads what others say.
func enter(ctx context.Context, gateway string) *room {
	c, err := client.Dial(ctx, gateway, client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	topic, err := c.Join(ctx, wtproto.TopicFromName("chat"), client.JoinOptions{Streams: true})
	if err != nil {
		log.Fatal(err)
	}
	r := &room{client: c, topic: topic, messages: make(chan string, 16)}
	go func() {
		for stream, err := range topic.Conns(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			if !stream.Peer().Further {
				continue // the gateway made it, to say that somebody is here
			}
			go func() {
				defer stream.Close()
				if text, err := io.ReadAll(io.LimitReader(stream, 64<<10)); err == nil {
					r.messages <- string(text)
				}
			}()
		}
	}()
	return r
}

// waitFor waits until n others are here.
func (r *room) waitFor(ctx context.Context, n int) {
	for range r.topic.Events(ctx) { // others that join and leave, and the gateway's status
		if len(r.topic.Peers()) >= n {
			return
		}
	}
}

// say sends text to all that are here.
func (r *room) say(ctx context.Context, text string) {
	for _, peer := range r.topic.Peers() {
		stream, err := r.topic.Open(ctx, peer)
		if err != nil {
			continue // it has left
		}
		io.WriteString(stream, text)
		stream.Close() // after all was sent
	}
}
