package main

import (
	"context"
	"errors"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// sendCmd is swarm send.
type sendCmd struct {
	Args []string `arg:"" name:"file" predictor:"file" help:"FILE… TOPIC: files and directories, and the topic, which is left out with --code and --new."`
	Code bool     `xor:"topic" help:"Take a topic with a short code such as 42-tulip-lantern-parade, and print it. One receiver gets the files, then the code is worthless."`
	New  bool     `xor:"topic" help:"Take a topic that nobody guesses, and print the string by which the other side finds it."`
	gatewayFlags

	topic topicArg
}

// Help is printed below the options.
func (sendCmd) Help() string {
	return "The other side runs swarm receive with the same topic, or has the gateway's console open on it. The first that has " +
		"got all files ends the program. After a lost connection it goes on where it was.\n\n" +
		"With --code the other side runs swarm receive CODE, with the same gateway or another one of its swarm. Only the first " +
		"receiver who comes gets anything: if that is not the one whom you told the code, you see that yours gets nothing. " +
		"To guess a code takes about 2^45 tries, each of them slow. A code does not hide the files from the gateways, which " +
		"pass them on, nor from somebody who overhears it and is faster." +
		examples(
			"swarm send photos/ --code",
			"swarm send a.pdf b.pdf wowcool --gateway https://gateway.example:4433",
		)
}

// Validate tells files and topic apart.
func (c *sendCmd) Validate() error {
	switch {
	case len(c.Args) == 0: // kong comes here before it says that FILE is missing, or after the help
	case c.New:
		c.topic = newTopic()
	case c.Code:
		var err error
		if c.topic, err = newCodeTopic(); err != nil {
			return err
		}
	default:
		last := len(c.Args) - 1
		if err := c.topic.UnmarshalText([]byte(c.Args[last])); err != nil {
			return err
		}
		c.Args = c.Args[:last]
	}
	if len(c.Args) == 0 {
		return errors.New("want FILE… TOPIC, --code FILE… or --new FILE…")
	}
	return c.requireGateway(c.topic)
}

// Run sends the files.
func (c *sendCmd) Run(p *program) error {
	s := &sender{events: p.events, progress: p.progress, one: c.Code, offers: make(map[wtproto.EndpointID]*offers)}
	for _, path := range c.Args {
		if err := s.add(path); err != nil {
			return err
		}
	}
	err := c.joinTopic(p, c.topic, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, t *client.Topic) error {
		s.end = end
		defer s.progress.end()
		return serveConsoles(ctx, t, func(conn *client.Conn, console *consoleConn) error { return s.serve(ctx, conn, console) })
	})
	if err != nil || p.ctx.Err() != nil {
		return err
	}
	for _, f := range s.files {
		sum, err := hashFile(f.path)
		if err != nil {
			return err
		}
		if err := p.events.file("sent", f.name, f.size, sum); err != nil {
			return err
		}
	}
	return nil
}
