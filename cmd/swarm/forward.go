package main

import (
	"context"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// forwardCmd is swarm forward.
type forwardCmd struct {
	Topic   topicArg `arg:"" predictor:"word" help:"The topic. It is left out with --new and --secret."`
	Address hostPort `arg:"" optional:"" predictor:"word" help:"HOST:PORT of the TCP service, which gets one connection for each stream of a peer."`
	roomFlags
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

// Validate finds or makes the topic, and finds the gateway.
func (c *forwardCmd) Validate() error {
	if err := c.choose(&c.Topic, &c.Address, c.Address != ""); err != nil {
		return err
	}
	if err := c.identify(&c.Topic); err != nil {
		return err
	}
	return c.requireGateway(c.Topic)
}

// Run joins the topic.
func (c *forwardCmd) Run(p *program) error {
	p.events.lasting = true
	if c.Topic.guessable() {
		p.events.warn("whoever guesses the topic's name, or the text of the secret, reaches the service: use --new, or a service that asks who is there")
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
