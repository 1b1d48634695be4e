package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// statusCmd is swarm status.
type statusCmd struct {
	Topic *topicArg `arg:"" optional:"" predictor:"word" help:"Also print what the gateway knows of this topic."`
	gatewayFlags
	For time.Duration `default:"3s" placeholder:"3s" help:"How long to look at the topic."`
}

// Help is printed below the options.
func (statusCmd) Help() string {
	return "It joins the topic for a moment to look, and takes no circuits." +
		examples("swarm status --gateway http://127.0.0.1:8080", "swarm status wowcool --for 10s --gateway https://gateway.example:4433")
}

// Validate finds the gateway.
func (c *statusCmd) Validate() error {
	if c.Topic == nil {
		return c.requireGateway(topicArg{})
	}
	return c.requireGateway(*c.Topic)
}

// Run opens a session, and prints what the gateway says.
func (c *statusCmd) Run(p *program) error {
	c.Reconnect = false // what cannot be reached now is the answer
	gateway, err := c.dial(p)
	if err != nil {
		return err
	}
	defer gateway.Close()
	if err := printGateway(p.events, gateway.Session()); err != nil || c.Topic == nil {
		return err
	}
	// Offers are declined, so peers see a circuit that ends at once.
	none := func(client.Peer) bool { return false }
	topic, err := gateway.Join(p.ctx, c.Topic.Topic, client.JoinOptions{LookUpOnly: true, Filter: none})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, c.For)
	defer cancel()
	reportTopic(ctx, topic, func(s client.Status) {
		if failed := printTopic(p.events, c.Topic.Topic, s); failed != nil && err == nil {
			err = failed
			cancel()
		}
	}, func() {})
	return err
}

// printGateway prints the greeting of a gateway.
func printGateway(e *events, w client.Session) error {
	cert := wtproto.CertificateInfo{Kind: wtproto.CertificateCA}
	for _, h := range w.CertHashes {
		cert.Kind = wtproto.CertificatePinned
		cert.Hashes = append(cert.Hashes, hex.EncodeToString(h[:]))
	}
	if e.json {
		return e.line(event{Event: "gateway", Gateway: &gatewayStatus{
			Agent: w.Agent, Version: w.Version, Transport: w.Transport, Certificate: cert, MaxTopics: w.MaxTopics, MaxCircuits: w.MaxCircuits,
		}})
	}
	var b strings.Builder
	over := "QUIC"
	if w.Transport == client.TransportWebSocket {
		over = "WebSocket"
	}
	fmt.Fprintf(&b, "gateway      %s, version %d of the protocol, over %s\n", w.Agent, w.Version, over)
	fmt.Fprintf(&b, "certificate  %s\n", strings.Join(append([]string{cert.Kind}, cert.Hashes...), "\n             "))
	fmt.Fprintf(&b, "limits       %s topics, %s circuits\n", limit(w.MaxTopics), limit(w.MaxCircuits))
	return e.write([]byte(b.String()))
}

// printTopic prints a STATUS.
func printTopic(e *events, topic wtproto.Topic, s client.Status) error {
	if e.json {
		return e.line(statusEvent(topic, s))
	}
	var b strings.Builder
	least := ""
	if s.More {
		least = "at least "
	}
	fmt.Fprintf(&b, "topic        %s%d known\n", least, s.Known)
	for _, n := range s.Networks {
		fmt.Fprintf(&b, "  %-10s %v: %d found, %d connecting, %d refused", n.Name, n.State, n.Found, n.Connecting, n.Refused)
		if n.LastCode != wtproto.CodeNone {
			fmt.Fprintf(&b, ", last %v", n.LastCode)
		}
		b.WriteByte('\n')
		if n.Reason != "" {
			fmt.Fprintf(&b, "             %s\n", n.Reason)
		}
	}
	return e.write([]byte(b.String()))
}

// limit returns a limit of the wire in words: 0 means none.
func limit(n int) string {
	if n == 0 {
		return "any number of"
	}
	return fmt.Sprint(n)
}
