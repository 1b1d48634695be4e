package main

import (
	"context"
	"errors"

	"github.com/swarmgate/swarmgate/client"
)

// receiveCmd is swarm receive.
type receiveCmd struct {
	Topic codeOrTopic `arg:"" predictor:"code" help:"The topic, or what swarm send has printed with --code or --new."`
	gatewayFlags
	Output string `short:"o" type:"path" predictor:"file" default:"." placeholder:"DIR" help:"Where to put the files. What is there is never overwritten."`
}

// Help is printed below the options.
func (receiveCmd) Help() string {
	return "Takes all files that somebody on the topic offers with swarm send or a gateway's console, and ends when the sender " +
		"does. After a lost connection it goes on where it was; until a file is whole it is called NAME.part.\n\n" +
		"With a code it takes files of one sender only." +
		examples(
			"swarm receive 42-tulip-lantern-parade",
			"swarm receive wowcool -o Downloads --gateway https://gateway.example:4433",
		)
}

// Validate finds the gateway.
func (c *receiveCmd) Validate() error { return c.requireGateway(c.Topic.topicArg) }

// Run receives files.
func (c *receiveCmd) Run(p *program) error {
	r := &receiver{events: p.events, progress: p.progress, one: c.Topic.code != "", dir: c.Output}
	defer r.close()
	err := c.joinTopic(p, c.Topic.topicArg, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error {
		defer r.progress.end()
		return serveConsoles(ctx, t, func(conn *client.Conn, console *consoleConn) error {
			err := r.serve(conn, console)
			r.settle(ctx, end, endpointOf(conn.Peer()), err)
			return err
		})
	})
	for _, f := range r.files {
		if f.whole && !p.events.json { // below the bar, which is gone
			err = errors.Join(err, f.tell(p.events))
		}
	}
	return err
}
