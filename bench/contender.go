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
	peer    *child   // behind the gateway; nil without one
	client  *child
	link    *child // between the two; nil without one
	way     way
}

// sample is how one order went.
type sample struct {
	outcome
	cpu float64 // seconds that the server used; a peer behind it is not counted
}

// raw starts a server without a gateway, and a client of it. Both have sockets of a kind.
func (b *bench) raw(socket string) (*contender, error) {
	c := &contender{name: "raw " + socket}
	b.contenders = append(b.contenders, c)
	var l listening
	var err error
	if c.server, err = startRole(&l, "raw", socket); err != nil {
		return nil, err
	}
	c.way = way{Kind: "raw", Socket: socket, Addr: l.Addr}
	return c, c.startClient()
}

// page starts a server that speaks WebTransport without a gateway, and a client of it.
func (b *bench) page() (*contender, error) {
	c := &contender{name: "webtransport-go"}
	b.contenders = append(b.contenders, c)
	var l listening
	var err error
	if c.server, err = startRole(&l, "page"); err != nil {
		return nil, err
	}
	c.way = way{Kind: "raw webtransport", Socket: "udp", Addr: l.Addr}
	return c, c.startClient()
}

// yamux starts a server that puts all streams into one WebSocket, with a TCP service behind it.
func (b *bench) yamux() (*contender, error) {
	c := &contender{name: "yamux over one WebSocket"}
	b.contenders = append(b.contenders, c)
	var peer, l listening
	var err error
	if c.peer, err = startRole(&peer, "peer"); err != nil {
		return nil, err
	}
	if c.server, err = startRole(&l, "yamux", peer.Addr); err != nil {
		return nil, err
	}
	c.way = way{Kind: "yamux", Addr: l.Addr}
	return c, c.startClient()
}

// gateway starts a gateway with a TCP service behind it, and a client whose socket is of a kind.
func (b *bench) gateway(transport, socket string, args ...string) (*contender, error) {
	return b.gatewayOf(b.binary, "gateway", transport, socket, args...)
}

// services are how many TCP services are behind a gateway. All are on topicMany, and the first one
// is on topicOne as well.
const (
	services  = 65
	topicOne  = "exchange"
	topicMany = "many"
)

// gatewayOf is gateway with the program in a file.
func (b *bench) gatewayOf(binary, name, transport, socket string, args ...string) (*contender, error) {
	c := &contender{name: name}
	b.contenders = append(b.contenders, c)
	var l listening
	var err error
	if c.peer, err = startRole(&l, "peer"); err != nil {
		return nil, err
	}
	args = append(args, "--static", topicOne+"=tcp://"+l.Addr)
	for _, addr := range l.Addrs {
		args = append(args, "--static", topicMany+"=tcp://"+addr)
	}
	p, err := startGateway(binary, args...)
	if err != nil {
		return nil, err
	}
	c.program, c.server, c.way = p, p.child, p.way(transport, socket, topicOne)
	return c, c.startClient()
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
	o := &contender{name: name, server: c.server, way: c.way}
	o.way.Kind, o.way.Socket = transport, socket
	b.contenders = append(b.contenders, o)
	return o, o.startClient()
}

func (c *contender) startClient() error {
	var ready struct{}
	var err error
	c.client, err = startRole(&ready, "client")
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
	before, _ := cpuOfAll(b.pids())
	defer func() {
		after, _ := cpuOfAll(b.pids())
		b.spent += before - after
	}()
	for _, c := range cs {
		c.client.stop()
		c.link.stop()
		c.peer.stop()
	}
	for _, c := range cs {
		c.server.stop()
	}
	b.contenders = slices.DeleteFunc(b.contenders, func(c *contender) bool { return slices.Contains(cs, c) })
}

// turns has contenders carry out an order in turns, after a round that does not count. The answer
// has the samples of each. Who begins changes from round to round.
func (b *bench) turns(o order, cs ...*contender) ([][]sample, error) {
	all := make([][]sample, len(cs))
	for round := range b.rounds + 1 {
		for k := range cs {
			i := (k + round) % len(cs)
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
