package main

import "github.com/swarmgate/swarmgate/client"

// forwardCmd is swarm forward.
type forwardCmd struct {
	Topic   topicArg `arg:"" help:"The topic."`
	Address hostPort `arg:"" help:"HOST:PORT of the TCP service, which gets one connection for each peer."`
	gatewayFlags
	MaxPeers int `name:"max-peers" placeholder:"N" help:"Be connected to at most this many peers at once. With 1, end with the first peer. Without it the gateway's default."`
}

// Run joins the topic.
func (c *forwardCmd) Run(p *program) error {
	f, err := newForward(c.Address)
	if err != nil {
		return err
	}
	defer f.close()
	return c.member(p, c.Topic.Topic, client.JoinOptions{MaxPeers: c.MaxPeers}, f)
}
