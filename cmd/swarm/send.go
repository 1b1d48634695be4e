package main

import (
	"context"
	"errors"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// sendCmd is swarm send.
type sendCmd struct {
	Args []string `arg:"" name:"file" predictor:"file" help:"FILE… TOPIC: files and directories, and the secret that both sides know: a text or 64 hexadecimal digits. It is left out with --code, --new and --secret."`
	Code bool     `xor:"topic" help:"Make a secret that is a short code such as 42-tulip-lantern-parade, and print it. One receiver gets the files. Then nobody can use the code again."`
	New  bool     `xor:"topic" help:"Make a secret that nobody can guess, and print the string by which the other side finds it."`
	filesFlags
	gatewayFlags

	topic topicArg
}

// Help is printed below the options.
func (sendCmd) Help() string {
	return "The other side runs swarm receive with the same TOPIC, or has the gateway's console open on it, in a secret room. " +
		"The first that has got all files ends the program. After a lost connection it goes on where it was.\n\n" +
		"TOPIC is a secret: the files are sealed from end to end, and gateways cannot read them. But a gateway can try texts that " +
		"can be guessed, so choose a long one, or use --new. With --plain TOPIC is a topic, and gateways can read the files.\n\n" +
		"With --code the other side runs swarm receive CODE, with the same gateway or another one of its swarm. Only the first " +
		"receiver who comes gets anything: if that is not the one whom you told the code, you see that yours gets nothing. " +
		"To guess a code takes about 2^45 tries, each of them slow. A code does not hide the files from somebody who overhears it " +
		"and is faster." +
		examples(
			"swarm send photos/ --code",
			"swarm send a.pdf b.pdf --secret-file room.txt --gateway https://gateway.example:4433",
		)
}

// Validate tells files and topic apart.
func (c *sendCmd) Validate() error {
	text, err := c.text()
	switch {
	case err != nil:
		return err
	case len(c.Args) == 0: // kong comes here before it says that FILE is missing, or after the help
	case (c.Code || c.New) && text != "":
		return errors.New("--code and --new make a secret: leave out --secret, --secret-file and SWARMGATE_SECRET")
	case c.Code:
		c.topic, err = c.fromCode(newCode())
		c.topic.isNew = true
	case c.New && c.Plain:
		c.topic = newTopic()
	case c.New:
		c.topic = newSecretTopic()
	case text != "":
		c.topic, err = c.choose("")
	default:
		last := len(c.Args) - 1
		if last > 0 {
			c.topic, err = c.choose(c.Args[last])
		}
		c.Args = c.Args[:last]
	}
	if err != nil {
		return err
	}
	if len(c.Args) == 0 {
		return errors.New("want FILE… TOPIC, --code FILE… or --new FILE…")
	}
	if err := c.identify(&c.topic); err != nil {
		return err
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
	err := c.joinTopic(p, c.topic, client.JoinOptions{}, func(ctx context.Context, end context.CancelCauseFunc, m *meeting) error {
		s.end = end
		defer s.progress.end()
		return serveConsoles(ctx, m, func(conn memberConn, console *consoleConn) error { return s.serve(ctx, conn, console) })
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
