package main

import (
	"context"
	"errors"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// forwardCmd is swarm forward.
type forwardCmd struct {
	Topic   topicArg `arg:"" predictor:"word" help:"The topic. It is left out with --new."`
	Address hostPort `arg:"" optional:"" predictor:"word" help:"HOST:PORT of the TCP service, which gets one connection for each stream of a peer."`
	New     bool     `help:"Take a topic that nobody guesses, and print the string by which others find it."`
	gatewayFlags
	Once     bool `help:"End with the first peer, with status 0 if it has ended regularly."`
	MaxPeers int  `name:"max-peers" placeholder:"N" help:"Be connected to at most this many peers at once. Without it the gateway's default."`
}

// Help is printed below the options.
func (forwardCmd) Help() string {
	return "The other side uses swarm listen, or any program that opens streams. " +
		"Each peer is connected with the service once without having asked for it." +
		examples(
			"swarm forward --new 127.0.0.1:22",
			"swarm forward wowcool 127.0.0.1:8080 --gateway https://gateway.example:4433",
		)
}

// Validate makes a topic, if that is wanted.
func (c *forwardCmd) Validate() error {
	switch {
	case !c.New && c.Address == "":
		return errors.New("want TOPIC HOST:PORT, or --new HOST:PORT")
	case c.New && c.Address != "":
		return errors.New("--new makes a topic: leave out TOPIC")
	case c.New:
		if err := c.Address.UnmarshalText([]byte(c.Topic.name)); err != nil {
			return err
		}
		c.Topic = newTopic()
	}
	return c.requireGateway(c.Topic)
}

// Run joins the topic.
func (c *forwardCmd) Run(p *program) error {
	if c.Topic.guessable() {
		p.events.warn("whoever guesses the topic's name reaches the service: use --new, or a service that asks who is there")
	}
	f, err := newForwarder(c.Address)
	if err != nil {
		return err
	}
	defer f.close()
	return c.serveCircuits(p, c.Topic, client.JoinOptions{MaxPeers: c.MaxPeers, Streams: true}, c.Once, f)
}

// forwarder connects each circuit with a TCP service.
type forwarder struct {
	address string
	dialer  *discovery.TCPDialer
}

// newForwarder returns a handler for the service at address. The caller closes it.
func newForwarder(address hostPort) (*forwarder, error) {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{})
	if err != nil {
		return nil, err
	}
	return &forwarder{address: string(address), dialer: discovery.NewTCPDialer(policy, discovery.SourceConfigured)}, nil
}

func (f *forwarder) handle(ctx context.Context, _ int, c circuit) (traffic, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	service, err := f.dialer.Dial(ctx, f.address)
	if err != nil {
		c.Reset(wtproto.CodePeerUnreachable)
		return traffic{}, err
	}
	return relay(c, service)
}

// close ends all connections with the service.
func (f *forwarder) close() { f.dialer.Close() }
