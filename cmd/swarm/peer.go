package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/mdns"
	"github.com/swarmgate/swarmgate/discovery/p2p"
)

// lastBytes is how long a host that has done its work stays, because the peer may not have read all
// yet.
const lastBytes = 2 * time.Second

// peerCmd is swarm peer.
type peerCmd struct {
	Topic topicArg `arg:"" optional:"" predictor:"word" help:"The topic. It is left out with --secret."`
	secretFlags

	Echo    bool     `xor:"does" help:"Send back what peers send."`
	Forward hostPort `xor:"does" placeholder:"HOST:PORT" help:"Connect each stream of a peer with this TCP service. Without this and --echo, standard input and output are connected with all peers, one stream of each."`

	Once bool `help:"End with the first peer, with status 0 if it has ended regularly."`

	DHT          dhtMode        `name:"dht" predictor:"dht" default:"public" placeholder:"public" help:"Which DHT to use: public (the one of IPFS), private (of swarmgate hosts, entered by --dht-seed) or off."`
	DHTSeed      []string       `name:"dht-seed" placeholder:"MULTIADDR" help:"A host by which to enter the DHT."`
	DHTServe     dhtServe       `name:"dht-serve" predictor:"dht-serve" default:"auto" placeholder:"auto" help:"Whether to serve the private DHT, so that others can ask this host: auto (once somebody could connect to this host from where its seeds are), always or never."`
	P2PListen    []string       `name:"p2p-listen" placeholder:"MULTIADDR" help:"Where to listen for other hosts. Without it, on a free TCP port of all addresses."`
	P2PAnnounce  []string       `name:"p2p-announce" placeholder:"MULTIADDR" help:"An address by which other hosts reach this one, if none of its own interfaces has it: behind a router that forwards a port, or in a container."`
	LAN          bool           `name:"lan" negatable:"" help:"Look for peers on the LAN, and be found there."`
	LANInterface []string       `name:"lan-interface" predictor:"interface" placeholder:"NAME" help:"The network interface of the LAN. Without it, all that are neither loopback nor point-to-point."`
	DialAllow    []netip.Prefix `placeholder:"CIDR" help:"Also dial peers at these addresses. Without it only public ones are dialed, and on the LAN its own."`
	AllowPrivate bool           `help:"Dial peers at all private and loopback addresses: for tests and development."`
	StateDir     string         `placeholder:"DIR" help:"Keep the host's key here, so that it has the same id after a restart."`
}

// Help is printed below the options.
func (peerCmd) Help() string {
	return "With --forward it takes as many streams of a peer as that opens, with --echo too. It opens none itself but the first " +
		"with each peer: nothing here asks for more. The opposite of --forward is swarm listen, through a gateway." +
		examples(
			"swarm peer wowcool --echo",
			"swarm peer wowcool --forward 127.0.0.1:22 --state-dir state",
			"swarm peer wowcool --dht off --lan",
			"swarm peer --secret-file room.txt --forward 127.0.0.1:22",
			"swarm peer wowcool --dht private --dht-seed /dns4/gateway.example/tcp/4434/p2p/12D3KooWDwTirQce1RRKnasT5fPVFgzXCy6SiRgSwrwPGLC7zE91",
		)
}

// dhtMode is the DHT of a host.
type dhtMode struct{ p2p.Mode }

// UnmarshalText reads public, private or off.
func (m *dhtMode) UnmarshalText(b []byte) (err error) {
	m.Mode, err = p2p.ParseMode(string(b))
	return err
}

// dhtServe says whether the host is a server of the DHT.
type dhtServe struct{ p2p.Serve }

// UnmarshalText reads auto, always or never.
func (s *dhtServe) UnmarshalText(b []byte) (err error) {
	s.Serve, err = p2p.ParseServe(string(b))
	return err
}

// Validate finds the topic.
func (c *peerCmd) Validate() error {
	if err := c.choose(&c.Topic); err != nil {
		return err
	}
	return c.identify(&c.Topic)
}

// Run is a peer until the program ends.
func (c *peerCmd) Run(p *program) error {
	p.events.lasting = c.Echo || c.Forward != ""
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{
		Allow: c.DialAllow, Private: c.AllowPrivate, LANInterfaces: c.LANInterface,
	})
	if err != nil {
		return err
	}
	dir, err := certs.OpenStateDir(c.StateDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	seed, err := dir.Key("p2p", ed25519.SeedSize)
	if err != nil {
		return err
	}
	host, err := c.listen(p2p.Config{
		Key: ed25519.NewKeyFromSeed(seed), Listen: c.P2PListen, Announce: c.P2PAnnounce, Mode: c.DHT.Mode, Seeds: c.DHTSeed,
		Serve: c.DHTServe.Serve, Policy: policy, Logger: p.log,
	})
	if err != nil {
		return err
	}
	networks := []discovery.Network{host}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { closeAll(networks) }()
	if c.LAN {
		lan, err := mdns.New(mdns.Config{
			Policy: policy, Interfaces: c.LANInterface, Hosts: host, Self: selfOf(host), Logger: p.log,
		})
		if err != nil {
			return err
		}
		networks = append(networks, lan)
		wg.Go(func() { lan.Run(p.ctx) }) // its error is that it was closed
	}
	h, done, err := c.handler(p)
	if err != nil {
		return err
	}
	defer done()
	if err := p.events.ready(readyLine{Topic: c.Topic.String(), ID: host.ID(), Addrs: host.Addrs()}, c.Topic); err != nil {
		return err
	}
	_, one := h.(*stdio) // all its circuits have the same input
	ctx, end := context.WithCancelCause(p.ctx)
	defer end(nil)
	v := newNativePeer(p, h, !one)
	if c.Topic.secret != nil {
		if v.room, err = c.Topic.room(); err != nil {
			return err
		}
	}
	if c.Once {
		v.dispatcher.once = func(err error) {
			if err == nil {
				err = errServed
				pause(ctx, lastBytes)
			}
			end(err)
		}
	}
	v.run(ctx, c.Topic.Topic, networks)
	if cause := context.Cause(ctx); p.ctx.Err() == nil && !errors.Is(cause, errServed) {
		return cause
	}
	return nil
}

// listen starts a host. Without --p2p-listen a host with IPv4 alone will do.
func (c *peerCmd) listen(cfg p2p.Config) (*p2p.Host, error) {
	if len(cfg.Listen) > 0 {
		return p2p.Listen(cfg)
	}
	cfg.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"}
	host, err := p2p.Listen(cfg)
	if err == nil {
		return host, nil
	}
	cfg.Listen = cfg.Listen[:1]
	if host, again := p2p.Listen(cfg); again == nil {
		return host, nil
	}
	return nil, err
}

// selfOf returns what mDNS publishes of a host, or nil if the LAN cannot reach the host.
func selfOf(host *p2p.Host) *mdns.Self {
	if host.Port() == 0 || !slices.ContainsFunc(host.Addrs(), func(m string) bool {
		return !strings.HasPrefix(m, "/ip4/127.") && !strings.HasPrefix(m, "/ip6/::1/")
	}) {
		return nil
	}
	return &mdns.Self{ID: host.ID(), Port: host.Port()}
}

// handler returns what to do with circuits, and what to call at the end.
func (c *peerCmd) handler(p *program) (h handler, done func(), err error) {
	switch {
	case c.Echo:
		return echo{}, func() {}, nil
	case c.Forward != "":
		f, err := newForwarder(c.Forward)
		if err != nil {
			return nil, nil, err
		}
		return f, f.close, nil
	default:
		m := newStdio(p)
		return m, m.close, nil
	}
}
