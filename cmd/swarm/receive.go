package main

import (
	"context"
	"errors"

	"github.com/swarmgate/swarmgate/client"
)

// receiveCmd is swarm receive.
type receiveCmd struct {
	Topic string `arg:"" optional:"" predictor:"code" help:"The secret that both sides know: a text or 64 hexadecimal digits, or what swarm send has printed with --code or --new."`
	filesFlags
	gatewayFlags
	Output string `short:"o" type:"path" predictor:"file" default:"." placeholder:"DIR" help:"Where to put the files. Existing files are never overwritten."`

	topic topicArg
}

// Help is printed below the options.
func (receiveCmd) Help() string {
	return "Takes all files that somebody with the same secret offers with swarm send or a gateway's console, and ends when the sender " +
		"does. After a lost connection it goes on where it was; until a file is whole it is called NAME.part.\n\n" +
		"With a code it takes files of one sender only." +
		examples(
			"swarm receive 42-tulip-lantern-parade",
			"swarm receive --secret-file room.txt -o Downloads --gateway https://gateway.example:4433",
		)
}

// Validate reads the topic and finds the gateway.
func (c *receiveCmd) Validate() error {
	var err error
	if c.topic, err = c.choose(c.Topic); err != nil {
		return err
	}
	if err := c.identify(&c.topic); err != nil {
		return err
	}
	return c.requireGateway(c.topic)
}

// Run receives files.
func (c *receiveCmd) Run(p *program) error {
	r := &receiver{events: p.events, progress: p.progress, one: c.topic.code != "", dir: c.Output}
	defer r.close()
	err := c.joinTopic(p, c.topic, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, m *meeting) error {
		defer r.progress.end()
		return serveConsoles(ctx, m, func(conn memberConn, console *consoleConn) error {
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
