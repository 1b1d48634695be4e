package main

import (
	"encoding"
	"errors"
	"fmt"
	"strings"

	"github.com/swarmgate/swarmgate/client/secret"
)

// secretFlags name a secret room, instead of TOPIC.
type secretFlags struct {
	Secret     string `env:"SWARMGATE_SECRET" placeholder:"SECRET" help:"Instead of TOPIC, the secret of a secret room: 64 hexadecimal digits, or a text. All that passes through gateways is sealed from end to end. Others on this computer can read it in the list of processes."`
	SecretFile string `type:"path" predictor:"file" placeholder:"FILE" help:"File with the secret. Instead of --secret."`
	Identity   string `type:"path" predictor:"file" placeholder:"FILE" help:"File with the key by which others in a secret room recognize this program. It is made if it is missing, and is not for two programs at the same time. Without it the key is new at each start."`
}

// identify notes in topic where the key of this end is kept.
func (f *secretFlags) identify(topic *topicArg) error {
	if f.Identity != "" && topic.secret == nil {
		return errors.New("--identity is the key of a secret room: want --secret SECRET or --secret-file FILE")
	}
	topic.identity = f.Identity
	return nil
}

// errNoTopic says that TOPIC and a secret are given.
var errNoTopic = errors.New("--new and a secret (--secret, --secret-file or SWARMGATE_SECRET) stand for the topic: leave out TOPIC")

// errWantTopic says that neither is.
var errWantTopic = errors.New("want TOPIC, --secret SECRET or --secret-file FILE")

// text returns the secret that the flags give, or an empty text.
func (f *secretFlags) text() (string, error) {
	switch {
	case f.SecretFile == "":
		return f.Secret, nil
	case f.Secret != "":
		return "", errors.New("both --secret, or SWARMGATE_SECRET, and --secret-file")
	}
	b, err := readToken(f.SecretFile)
	return string(b), err
}

// choose makes topic the one that the flags name, if TOPIC is left out.
func (f *secretFlags) choose(topic *topicArg) error {
	text, err := f.text()
	switch {
	case err != nil:
		return err
	case text != "" && topic.name != "":
		return errNoTopic
	case text != "":
		*topic, err = secretTopic(text)
	case topic.name == "":
		err = errWantTopic
	}
	return err
}

// roomFlags are secretFlags of a command whose arguments are TOPIC HOST:PORT.
type roomFlags struct {
	New bool `help:"Make a secret room, and print the string by which others find it."`
	secretFlags
}

// choose reads the arguments. If the flags name the topic, the first argument is the address;
// isWhole says that both are there.
func (f *roomFlags) choose(topic *topicArg, address encoding.TextUnmarshaler, isWhole bool) error {
	text, err := f.text()
	named := text != "" || f.New
	switch {
	case err != nil:
		return err
	case text != "" && f.New:
		return errors.New("both --new and a secret")
	case named && isWhole:
		return errNoTopic
	case !named && !isWhole:
		return errors.New("want TOPIC HOST:PORT, --new HOST:PORT or --secret SECRET HOST:PORT")
	case !named:
		return nil
	}
	if err := address.UnmarshalText([]byte(topic.name)); err != nil {
		return err
	}
	if *topic = newSecretTopic(); text != "" {
		*topic, err = secretTopic(text)
	}
	return err
}

// filesFlags name the topic of send and receive, whose circuits are sealed unless told otherwise.
type filesFlags struct {
	secretFlags
	Plain bool `help:"Do not seal what passes through gateways: TOPIC is a topic, and not a secret. For peers that know nothing of secret rooms."`
}

// read reads TOPIC.
func (f *filesFlags) read(text string) (t topicArg, err error) {
	c, err := parseCode(text)
	switch {
	case err != nil:
		return t, err
	case c != "":
		return f.fromCode(c)
	case f.Plain:
		err = t.UnmarshalText([]byte(text))
		if err == nil && t.secret != nil {
			err = errors.New("--plain, and a gateway URL with a secret")
		}
		return t, err
	case isGatewayURL(text):
		err = t.UnmarshalText([]byte(text))
		if err == nil && t.secret == nil {
			err = errors.New("the gateway URL has a topic and no secret: want --plain if its peers do not seal what they send")
		}
		return t, err
	}
	return secretTopic(text)
}

// fromCode returns the topic that a code stands for.
func (f *filesFlags) fromCode(c code) (topicArg, error) {
	t, err := secretTopic(string(c))
	t.code = c
	if f.Plain {
		t.secret = nil
	}
	return t, err
}

// choose returns the topic that the flags name, or else that of TOPIC, which may be empty.
func (f *filesFlags) choose(topic string) (t topicArg, err error) {
	text, err := f.text()
	switch {
	case err != nil:
		return t, err
	case text != "" && topic != "":
		return t, errNoTopic
	case text != "" && f.Plain:
		return t, errors.New("both --plain and a secret")
	case text != "":
		return secretTopic(text)
	case topic == "":
		return t, errWantTopic
	}
	return f.read(topic)
}

// secretTopic returns the topic of the room whose secret is text, as people give it.
func secretTopic(text string) (topicArg, error) {
	s, err := secret.Parse(text)
	return topicArg{Topic: s.Topic(), name: text, secret: &s}, err
}

// newSecretTopic returns the topic of a room with a random secret.
func newSecretTopic() topicArg {
	s := secret.New()
	return topicArg{Topic: s.Topic(), name: s.Hex(), secret: &s, isNew: true}
}

// room returns the secret room, with the identity of the file if there is one.
func (t topicArg) room() (*secret.Room, error) {
	if t.identity == "" {
		return secret.NewRoom(*t.secret, nil), nil
	}
	id, err := openIdentity(t.identity)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	return secret.NewRoom(*t.secret, id), nil
}

// keyForPeople is how people compare a key: its first 16 digits.
func keyForPeople(key string) string {
	var groups []string
	for i := 0; i < 16 && i+4 <= len(key); i += 4 {
		groups = append(groups, key[i:i+4])
	}
	return strings.Join(groups, " ")
}
