package main

import "github.com/swarmgate/swarmgate/client"

// joinCmd is swarm join.
type joinCmd struct {
	Topic topicArg `arg:"" optional:"" predictor:"word" help:"The topic. It is left out with --secret."`
	secretFlags
	gatewayFlags
	Once     bool `help:"End with the first peer, with status 0 if it has ended regularly."`
	MaxPeers int  `name:"max-peers" placeholder:"N" help:"Be connected to at most this many peers at once. Without it the gateway's default."`
}

// Help is printed below the options.
func (joinCmd) Help() string {
	return "Each peer gets standard input, from its beginning as long as not more than 1 MiB was read, otherwise from then on. " +
		"The slowest peer holds up the input for all. What peers send is printed piece by piece as it comes." +
		examples(
			"echo hello | swarm join wowcool --once",
			"swarm join wowcool --gateway https://gateway.example:4433",
			"swarm join swarmgate://gateway.example:4433/#wowcool --json",
			"swarm join --secret-file room.txt --gateway https://gateway.example:4433",
		)
}

// Validate finds the topic and the gateway.
func (c *joinCmd) Validate() error {
	if err := c.choose(&c.Topic); err != nil {
		return err
	}
	if err := c.identify(&c.Topic); err != nil {
		return err
	}
	return c.requireGateway(c.Topic)
}

// Run joins the topic.
func (c *joinCmd) Run(p *program) error {
	m := newStdio(p)
	defer m.close()
	return c.serveCircuits(p, c.Topic, client.JoinOptions{MaxPeers: c.MaxPeers}, c.Once, m)
}
