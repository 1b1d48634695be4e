package main

import (
	"crypto/rand"
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
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
	name  string // as it was given: a name, 64 hexadecimal digits, a code or a secret
	isNew bool   // the program has made it
	code  code   // the code that it is derived from; empty for none

	secret   *secret.Secret // of a secret room, whose topic it is; nil for none
	identity string         // the file with the key of this end in the room; empty for a new key

	gateway string // the gateway URL that it came with; empty for none
}

// UnmarshalText reads a name, 64 hexadecimal digits, or a gateway URL with one of them or with a
// secret.
func (t *topicArg) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return errors.New("want the name of a topic")
	}
	*t = topicArg{name: string(b)}
	if isGatewayURL(t.name) {
		u, err := wtproto.ParseGatewayURL(t.name)
		if err != nil {
			return err
		}
		if u.Secret != "" {
			*t, err = secretTopic(u.Secret)
			t.gateway = u.WithTopic("").String()
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

// isGatewayURL reports whether text is meant to be a gateway URL.
func isGatewayURL(text string) bool {
	return strings.HasPrefix(strings.ToLower(text), wtproto.URLScheme)
}

// newTopic returns a topic with a name of 130 random bits, which cannot be guessed.
func newTopic() topicArg {
	name := strings.ToLower(rand.Text())
	return topicArg{Topic: wtproto.TopicFromName(name), name: name, isNew: true}
}

// unguessable are the names of newTopic, and keys.
var unguessable = regexp.MustCompile(`^([a-z2-7]{26,}|[0-9A-Fa-f]{64})$`)

// guessable reports whether somebody might find the topic, or the secret, by trying names.
func (t topicArg) guessable() bool { return t.code == "" && !unguessable.MatchString(t.name) }

// gatewayURL returns what somebody else needs to meet s on topic t.
func gatewayURL(s client.Session, t topicArg) (wtproto.GatewayURL, error) {
	with := func(u wtproto.GatewayURL) wtproto.GatewayURL {
		if t.secret != nil {
			return u.WithSecret(t.name)
		}
		return u.WithTopic(t.name)
	}
	if u, err := wtproto.ParseGatewayURL(s.Gateway); err == nil {
		return with(u), nil
	}
	address := strings.TrimSuffix(strings.TrimPrefix(s.Gateway, "https://"), "/")
	u := wtproto.GatewayURL{Host: strings.Trim(address, "[]"), Hashes: s.CertHashes}
	if host, port, err := net.SplitHostPort(address); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return u, err
		}
		u.Host, u.Port = host, uint16(n)
	}
	return with(u), nil
}

// label is what people call the topic: its name, or the beginning of its key. It does not tell a
// secret, unless that is a code, which is worthless after its use.
func (t topicArg) label() string {
	if t.secret != nil && t.code == "" {
		return "secret room " + shortID(t.Topic.String())
	}
	if t.guessable() || t.isNew || t.code != "" {
		return t.name
	}
	return shortID(t.name)
}
