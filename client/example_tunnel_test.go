package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A reverse tunnel: a service behind a firewall is reached through a port on another machine. Each
// connection there is a stream of its own to the service.
func Example_reverseTunnel() {
	gateway := servertest.NewServer(server.Config{}) // or one that runs somewhere
	defer gateway.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	service := greeter()
	defer service.Close()
	go expose(ctx, gateway.URL, service.Addr().String()) // on the machine of the service

	port, err := net.Listen("tcp", "127.0.0.1:0") // on the other machine
	if err != nil {
		log.Fatal(err)
	}
	defer port.Close()
	go reach(ctx, gateway.URL, port)

	for _, name := range []string{"Ada", "Grace", "Barbara"} {
		conn, err := net.Dial("tcp", port.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(conn, name)
		answer, _ := bufio.NewReader(conn).ReadString('\n')
		fmt.Print(answer)
		conn.Close()
	}
	// Output:
	// hello Ada
	// hello Grace
	// hello Barbara
}

// tunnel is a topic that nobody can guess, in a real tunnel.
var tunnel = wtproto.TopicFromName("tunnel")

// expose gives each stream of the topic a connection with the service at address.
func expose(ctx context.Context, gateway, address string) error {
	c, err := client.Dial(ctx, gateway, client.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	topic, err := c.Join(ctx, tunnel, client.JoinOptions{Streams: true})
	if err != nil {
		return err
	}
	for stream, err := range topic.Conns(ctx) {
		if err != nil {
			return err
		}
		if !stream.Peer().Further {
			continue // the gateway made it, to say that somebody is here
		}
		go func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				stream.Reset(wtproto.CodePeerUnreachable)
				return
			}
			splice(stream, conn)
		}()
	}
	return nil
}

// reach gives each connection of the port a stream with the peer on the topic.
func reach(ctx context.Context, gateway string, port net.Listener) error {
	c, err := client.Dial(ctx, gateway, client.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	topic, err := c.Join(ctx, tunnel, client.JoinOptions{})
	if err != nil {
		return err
	}
	first, err := topic.Accept(ctx) // waits until the other end is here
	if err != nil {
		return err
	}
	for {
		conn, err := port.Accept()
		if err != nil {
			return err
		}
		go func() {
			stream, err := topic.Open(ctx, first.Peer())
			if err != nil {
				conn.Close()
				return
			}
			splice(stream, conn)
		}()
	}
}

// splice copies both ways. The end of each direction is passed on by itself.
func splice(stream *client.Conn, conn net.Conn) {
	defer stream.Close()
	defer conn.Close()
	go func() {
		io.Copy(stream, conn)
		stream.CloseWrite()
	}()
	io.Copy(conn, stream)
}

// greeter is a service that greets whoever tells it a name.
func greeter() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				name, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprint(conn, "hello ", name)
			}()
		}
	}()
	return l
}
