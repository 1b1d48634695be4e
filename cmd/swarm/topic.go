package main

import (
	"crypto/rand"
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// topicCmd is swarm topic.
type topicCmd struct {
	Name topicArg `arg:"" predictor:"word" help:"The name of the topic."`
}

// Help is printed below the options.
func (topicCmd) Help() string {
	return "The key is what gateways, networks and services on the LAN know a topic by." +
		examples("swarm topic wowcool", "avahi-publish -s my-service _swarmgate._tcp 7000 topic=$(swarm topic wowcool)")
}

// Run prints the key.
func (c *topicCmd) Run(p *program) error {
	if p.events.json {
		return p.events.line(event{Event: "topic", Topic: c.Name.String()})
	}
	return p.events.write([]byte(c.Name.String() + "\n"))
}

// topicArg is the TOPIC of a command line.
type topicArg struct {
	wtproto.Topic
	name  string // as it was given: a name, 64 hexadecimal digits or a code
	isNew bool   // newTopic or newCodeTopic has made it
	code  code   // the code that it is derived from; empty for none

	gateway string // the gateway URL that it came with; empty for none
}

// UnmarshalText reads a name, 64 hexadecimal digits, or a gateway URL with one of them.
func (t *topicArg) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return errors.New("a topic has a name")
	}
	*t = topicArg{name: string(b)}
	if strings.HasPrefix(strings.ToLower(t.name), wtproto.URLScheme) {
		u, err := wtproto.ParseGatewayURL(t.name)
		if err != nil {
			return err
		}
		if u.Topic == "" {
			return errors.New("the gateway URL has no topic: want #NAME at its end")
		}
		t.name, t.gateway = u.Topic, u.WithTopic("").String()
	}
	t.Topic = wtproto.TopicFromText(t.name)
	return nil
}

// newTopic returns a topic with a name of 130 random bits, which cannot be guessed.
func newTopic() topicArg {
	name := strings.ToLower(rand.Text())
	return topicArg{Topic: wtproto.TopicFromName(name), name: name, isNew: true}
}

// newCodeTopic returns a topic with a new code.
func newCodeTopic() (topicArg, error) {
	t, err := topicFromCode(newCode())
	t.isNew = true
	return t, err
}

// topicFromCode returns the topic that c stands for.
func topicFromCode(c code) (t topicArg, err error) {
	t = topicArg{name: string(c), code: c}
	t.Topic, err = c.topic()
	return t, err
}

// codeOrTopic is the TOPIC of a command line, or a code.
type codeOrTopic struct{ topicArg }

// UnmarshalText reads what topicArg does, and codes.
func (t *codeOrTopic) UnmarshalText(b []byte) error {
	c, err := parseCode(string(b))
	switch {
	case err != nil:
		return err
	case c != "":
		t.topicArg, err = topicFromCode(c)
		return err
	}
	return t.topicArg.UnmarshalText(b)
}

// unguessable are the names of newTopic, and keys.
var unguessable = regexp.MustCompile(`^([a-z2-7]{26,}|[0-9A-Fa-f]{64})$`)

// guessable reports whether somebody might find the topic by trying names.
func (t topicArg) guessable() bool { return t.code == "" && !unguessable.MatchString(t.name) }

// gatewayURL returns what somebody else needs to meet s on topic t.
func gatewayURL(s client.Session, t topicArg) (wtproto.GatewayURL, error) {
	if u, err := wtproto.ParseGatewayURL(s.Gateway); err == nil {
		return u.WithTopic(t.name), nil
	}
	address := strings.TrimSuffix(strings.TrimPrefix(s.Gateway, "https://"), "/")
	u := wtproto.GatewayURL{Host: strings.Trim(address, "[]"), Hashes: s.CertHashes, Topic: t.name}
	if host, port, err := net.SplitHostPort(address); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return u, err
		}
		u.Host, u.Port = host, uint16(n)
	}
	return u, nil
}

// label is what people call the topic: its name, or the beginning of its key.
func (t topicArg) label() string {
	if t.guessable() || t.isNew || t.code != "" {
		return t.name
	}
	return shortID(t.name)
}
