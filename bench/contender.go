package main

import (
	"fmt"
	"slices"
)

// contender is a server with a client of its own, each a process.
type contender struct {
	name    string
	server  *child
	program *program // the server, if it is a gateway
	peer    *child   // behind the server; nil without one
	client  *child
	way     way
}

// sample is how one order went.
type sample struct {
	outcome
	cpu float64 // seconds that the server used; a peer behind it is not counted
}

// add returns a contender that b ends.
func (b *bench) add(name string, w way) *contender {
	w.From = b.nearHost()
	c := &contender{name: name, way: w}
	b.contenders = append(b.contenders, c)
	return c
}

// raw starts a server without a gateway, and a client of it. Both have sockets of a kind.
func (b *bench) raw(socket string) (*contender, error) {
	name := "quic-go"
	if socket == "udp" {
		name += ", internal/udp"
	}
	c := b.add(name, way{Kind: "raw", Socket: socket})
	return c, b.serve(c, "raw", socket)
}

// page starts a server that speaks WebTransport without a gateway, and a client of it.
func (b *bench) page() (*contender, error) {
	c := b.add("webtransport-go", way{Kind: "raw webtransport", Socket: "udp"})
	return c, b.serve(c, "page")
}

// serve starts a server for c, in a role, and a client.
func (b *bench) serve(c *contender, role string, args ...string) (err error) {
	var l listening
	if c.server, err = b.startFar(&l, role, args...); err != nil {
		return err
	}
	c.way.Addr = l.Addr
	return b.startClient(c)
}

// yamux starts a server that puts all streams into one WebSocket, with a TCP service behind it.
func (b *bench) yamux() (*contender, error) {
	c := b.add("yamux, one WebSocket", way{Kind: "yamux"})
	var peer listening
	var err error
	if c.peer, err = b.startFar(&peer, "peer"); err != nil {
		return nil, err
	}
	return c, b.serve(c, "yamux", peer.Addr)
}

// relay starts a relay of libp2p, with a host behind it, and one in front of it.
func (b *bench) relay() (*contender, error) {
	c := b.add("libp2p relay", way{Kind: "relay"})
	var l, host listening
	var err error
	if c.server, err = b.startFar(&l, "relay"); err != nil {
		return nil, err
	}
	if c.peer, err = b.startFar(&host, "relayed", l.Addr); err != nil {
		return nil, err
	}
	c.way.Addr = host.Addr
	return c, b.startClient(c)
}

// gateway starts a gateway with a TCP service behind it, and a client whose socket is of a kind.
func (b *bench) gateway(transport, socket string, args ...string) (*contender, error) {
	return b.gatewayOf(b.binary, "gateway", transport, socket, args...)
}

// services are how many TCP services are behind a gateway. All are on topicMany, and the first one
// is on topicOne as well. Another one is on topicGreet, and sends a byte to who comes.
const (
	services   = 72
	topicOne   = "exchange"
	topicMany  = "many"
	topicGreet = "greet"
)

// gatewayOf is gateway with the program in a file.
func (b *bench) gatewayOf(binary, name, transport, socket string, args ...string) (*contender, error) {
	c := b.add(name, way{})
	var l listening
	var err error
	if c.peer, err = b.startFar(&l, "peer"); err != nil {
		return nil, err
	}
	args = append(args, "--dht", "off", "--static", topicOne+"=tcp://"+l.Addr, "--static", topicGreet+"=tcp://"+l.Greets)
	for _, addr := range l.Addrs {
		args = append(args, "--static", topicMany+"=tcp://"+addr)
	}
	return c, b.startGatewayOf(c, binary, transport, socket, args...)
}

// native starts a gateway with a libp2p host behind it, which is alone on the gateway's DHT, and a
// client.
func (b *bench) native() (*contender, error) {
	c := b.add("gateway, libp2p peer", way{})
	var host listening
	var err error
	if c.peer, err = b.startFar(&host, "native", ""); err != nil {
		return nil, err
	}
	return c, b.startGatewayOf(c, b.binary, "quic", "udp", "--dht", "private", "--dht-seed", host.Addr, "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
}

// startGatewayOf starts a gateway for c, and a client whose socket is of a kind.
func (b *bench) startGatewayOf(c *contender, binary, transport, socket string, args ...string) error {
	p, err := b.startGateway(binary, args...)
	if err != nil {
		return err
	}
	from := c.way.From
	c.program, c.server, c.way = p, p.child, p.way(transport, socket, topicOne)
	c.way.From = from
	return b.startClient(c)
}

// pair returns two clients of the gateway of c that are on a topic of their own, the first one's
// circuits with the other one.
func (b *bench) pair(c *contender, name, transport string) (*contender, error) {
	far, err := b.other(c, name+", the other end", transport, "udp")
	if err != nil {
		return nil, err
	}
	far.way.Topic = name
	if _, err := far.do(order{Do: "answer"}); err != nil {
		return nil, err
	}
	near, err := b.other(c, name, transport, "udp")
	if err != nil {
		return nil, err
	}
	near.way.Topic = name
	return near, nil
}

// other adds a client to the server of c, with a socket of another kind.
func (b *bench) other(c *contender, name, transport, socket string) (*contender, error) {
	o := b.add(name, c.way)
	o.server, o.program = c.server, c.program
	o.way.Kind, o.way.Socket = transport, socket
	return o, b.startClient(o)
}

// startClient starts the client of c where clients are.
func (b *bench) startClient(c *contender) (err error) {
	ns := ""
	if b.network != nil {
		ns = b.network.Near
	}
	var ready struct{}
	c.client, err = start(&ready, ns, b.self, "role", "client")
	return err
}

// do has the client of c carry out an order.
func (c *contender) do(o order) (s sample, err error) {
	if o.Way.Addr == "" {
		o.Way = c.way
	}
	before, err := c.server.cpu()
	if err != nil {
		return s, err
	}
	if err := c.client.call(o, &s.outcome); err != nil {
		return s, fmt.Errorf("%s, %s: %w", c.name, o.Do, err)
	}
	after, err := c.server.cpu()
	s.cpu = (after - before).Seconds()
	return s, err
}

// connect opens a session of each with so many streams.
func connect(streams int, cs ...*contender) error {
	for _, c := range cs {
		if _, err := c.do(order{Do: "connect", Streams: streams}); err != nil {
			return err
		}
	}
	return nil
}

// end ends the processes of some contenders.
func (b *bench) end(cs ...*contender) {
	b.keepSpent(func() {
		for _, c := range cs {
			c.client.stop()
			c.peer.stop()
		}
		for _, c := range cs {
			c.server.stop()
		}
		b.contenders = slices.DeleteFunc(b.contenders, func(c *contender) bool { return slices.Contains(cs, c) })
	})
}

// endAll ends all contenders, and then all links.
func (b *bench) endAll() {
	b.end(slices.Clone(b.contenders)...)
	b.keepSpent(func() {
		for _, n := range b.networks {
			n.stop()
		}
		b.networks, b.network = nil, nil
	})
}

// keepSpent adds what processes have used that f ends.
func (b *bench) keepSpent(f func()) {
	before, _ := cpuOfAll(b.pids())
	f()
	after, _ := cpuOfAll(b.pids())
	b.spent += before - after
}

// turns has contenders carry out an order in turns, after a round that does not count, in which a
// transfer is shorter. The answer has the samples of each. Who begins changes from round to round.
func (b *bench) turns(o order, cs ...*contender) ([][]sample, error) {
	all := make([][]sample, len(cs))
	for round := range b.rounds + 1 {
		for k := range cs {
			i := (k + round) % len(cs)
			o := o
			if round == 0 && o.Do == "transfer" {
				o.Bytes /= 8
			}
			s, err := cs[i].do(o)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				all[i] = append(all[i], s)
			}
		}
	}
	return all, nil
}
