package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
)

// doctorCmd is swarm doctor.
type doctorCmd struct {
	URL string `arg:"" optional:"" name:"url" predictor:"word" help:"The gateway, instead of --gateway."`
	gatewayFlags
	Topic   *topicArg     `predictor:"word" placeholder:"TOPIC" help:"Also join this topic, and say who is known there. It takes no circuits."`
	For     time.Duration `default:"3s" placeholder:"3s" help:"How long to look at the topic."`
	Timeout time.Duration `default:"10s" placeholder:"10s" help:"How long each check may take."`
}

// Help is printed below the options.
func (doctorCmd) Help() string {
	return "Each check is a line: ok, or what is wrong and what to do. The exit status is 0 if a session was possible over QUIC or WebSocket. " +
		"With --json it is one object for each gateway." +
		examples("swarm doctor https://gateway.example:4433", "swarm doctor --topic wowcool --gateway http://127.0.0.1:8080")
}

// Validate finds the gateway.
func (c *doctorCmd) Validate() error {
	if c.Timeout <= 0 || c.For < 0 {
		return errors.New("want a --timeout above 0, and --for of 0 or more")
	}
	if c.URL != "" {
		c.Gateway = []string{c.URL}
		return nil
	}
	if c.Topic == nil {
		return c.requireGateway(topicArg{})
	}
	return c.requireGateway(*c.Topic)
}

// errNoSession is why swarm doctor fails. What it has printed says more.
var errNoSession = errors.New("no session is possible")

// Run examines each gateway, and prints what is wrong with it.
func (c *doctorCmd) Run(p *program) error {
	if !p.log.Enabled(p.ctx, slog.LevelDebug) { // what the client would log is what the checks say
		quiet := *p
		quiet.log = slog.New(slog.DiscardHandler)
		p = &quiet
	}
	possible := false
	for _, gateway := range c.Gateway {
		x := &examination{program: p, flags: c.gatewayFlags, topic: c.Topic, watch: c.For, patience: c.Timeout}
		x.flags.Gateway = []string{gateway}
		d := diagnose(x.run())
		if p.ctx.Err() != nil {
			return nil // Ctrl-C
		}
		possible = possible || len(d.Usable) > 0
		if err := printDiagnosis(p.events, d); err != nil {
			return err
		}
	}
	if !possible {
		return errNoSession
	}
	return nil
}

// printDiagnosis prints a line for each check, and what follows from all.
func printDiagnosis(e *events, d diagnosis) error {
	if e.json {
		return e.line(d)
	}
	var b strings.Builder
	for _, v := range d.Checks {
		line := fmt.Sprintf("%-8s %-18s %s", v.State, v.Check, v.Text)
		if v.Advice != "" {
			line += ". Do: " + v.Advice
		}
		b.WriteString(printable(line) + "\n")
	}
	switch {
	case len(d.Usable) == 0:
		b.WriteString("no session is possible")
	case d.Transport == client.TransportWebSocket:
		b.WriteString("a session is possible; by default it is over WebSocket")
	default:
		b.WriteString("a session is possible; by default it is over QUIC")
	}
	return e.write([]byte(b.String() + " with " + printable(d.Gateway) + "\n"))
}
