package client

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestConfigDefaults(t *testing.T) {
	secret := wtproto.Secret{1}
	given := Config{Token: []byte("t"), CertHashes: [][32]byte{{1}}, Secret: &secret}
	cfg := given.withDefaults()
	if cfg.Agent != "swarmgate-go" || cfg.Budget != 64*mib || cfg.DialTimeout != 10*time.Second || cfg.Silence != 25*time.Second || cfg.Logger == nil {
		t.Errorf("withDefaults = %+v", cfg)
	}
	given.Token[0], given.CertHashes[0], secret[0] = 'x', [32]byte{2}, 2
	if string(cfg.Token) != "t" || cfg.CertHashes[0][0] != 1 || cfg.Secret[0] != 1 {
		t.Error("withDefaults shares memory with what was given")
	}
}

func TestConfigMistakes(t *testing.T) {
	// All mistakes come together.
	_, err := Dial(t.Context(), "127.0.0.1:1", Config{
		Token: make([]byte, wtproto.MaxToken+1), Agent: "\xff", Budget: minBudget - 1, DialTimeout: -1, MaxCircuits: -1, Silence: minSilence - 1,
		RootCAs: x509.NewCertPool(), CertHashes: make([][32]byte, 1), Gateways: []string{"gateway.example", "http://a.example", "b.example:c:d"},
	})
	if err == nil {
		t.Fatal("Dial took it")
	}
	for _, field := range []string{"Token", "Agent", "Budget", "DialTimeout", "MaxCircuits", "Silence", "RootCAs", "http://a.example", "b.example:c:d"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("Dial = %v, which does not mention %s", err, field)
		}
	}
	for _, c := range []Config{{}, {Budget: minBudget}, {Budget: maxBudget}, {Silence: minSilence}, {Silence: maxSilence}, {Agent: strings.Repeat("a", wtproto.MaxAgent)}} {
		if err := c.validate(); err != nil {
			t.Errorf("validate of %+v = %v", c, err)
		}
	}
	source := func(context.Context) ([]byte, error) { return nil, nil }
	for _, c := range []Config{{Token: []byte("t"), TokenSource: source}, {Budget: -1}, {Budget: maxBudget + 1}, {Silence: -1}, {Silence: maxSilence + 1}, {Agent: strings.Repeat("a", wtproto.MaxAgent+1)}} {
		if c.validate() == nil {
			t.Errorf("validate took %+v", c)
		}
	}
}

// A client closes the sockets that it has opened, also when Dial fails, and opens none for a bad
// configuration.
func TestSocketsAreClosed(t *testing.T) {
	for name, tt := range map[string]struct {
		dial  func(edit func(*Config))
		opens bool
	}{
		"bad configuration": {func(edit func(*Config)) {
			c := Config{Budget: 1}
			edit(&c)
			Dial(t.Context(), "127.0.0.1:1", c)
		}, false},
		"bad address": {func(edit func(*Config)) {
			var c Config
			edit(&c)
			Dial(t.Context(), "http://127.0.0.1", c)
		}, false},
		"a gateway that is not trusted": {func(edit func(*Config)) {
			c := Config{CertHashes: make([][32]byte, 1)}
			edit(&c)
			Dial(t.Context(), newGateway(t, nil).addr, c)
		}, true},
		"a session that ended": {func(edit func(*Config)) {
			c, _ := newSessionPair(t, edit)
			c.Close()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var socket net.PacketConn
			tt.dial(func(c *Config) {
				c.ListenPacket = func() (_ net.PacketConn, err error) {
					socket, err = net.ListenPacket("udp4", "127.0.0.1:0")
					return socket, err
				}
			})
			if opened := socket != nil; opened != tt.opens {
				t.Fatalf("opened a socket: %v, want %v", opened, tt.opens)
			}
			if socket != nil && socket.Close() == nil {
				t.Error("the socket was open")
			}
		})
	}
}

// Each gateway is one, however its address is written.
func TestParseGateways(t *testing.T) {
	all, err := parseGateways([]string{
		"https://b.example", "a.example:4433", "b.example:443", "https://a.example:4433/swarm",
		"https://a.example", "swarmgate://a.example:443/#topic",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range all {
		names = append(names, g.name)
	}
	if want := []string{"https://b.example", "a.example:4433", "https://a.example"}; !slices.Equal(names, want) {
		t.Errorf("parseGateways = %q, want %q", names, want)
	}
}

// The hashes of a gateway URL are good for that gateway, those of the configuration for all; a
// gateway without any is trusted for its authority. No name of a gateway tells a topic.
func TestGatewayURLs(t *testing.T) {
	hash := func(n byte) [32]byte { return [32]byte{n} }
	first := wtproto.GatewayURL{Host: "a.example", Hashes: [][32]byte{hash(1)}, Topic: "secret"}.String()
	again := wtproto.GatewayURL{Host: "a.example", Hashes: [][32]byte{hash(2)}}.String()
	for _, tt := range []struct {
		hashes [][32]byte
		want   [2][][32]byte
	}{
		{nil, [2][][32]byte{{hash(1), hash(2)}, nil}},
		{[][32]byte{hash(3)}, [2][][32]byte{{hash(1), hash(3), hash(2), hash(3)}, {hash(3)}}},
	} {
		all, err := parseGateways([]string{first, "https://b.example", again}, tt.hashes)
		if err != nil {
			t.Fatal(err)
		}
		c := new(Client)
		for i, g := range all {
			if strings.Contains(g.name, "secret") {
				t.Errorf("the gateway is called %s", g.name)
			}
			if got := c.trusted(g); !slices.Equal(got, tt.want[i]) {
				t.Errorf("trusted = %x, want %x", got, tt.want[i])
			}
			g.announced = [][32]byte{hash(9)}
			if got := c.trusted(g); slices.Contains(got, hash(9)) != (tt.want[i] != nil) {
				t.Errorf("trusted = %x after another hash was told", got)
			}
		}
	}
}

func TestParseGateway(t *testing.T) {
	for _, tt := range []struct{ in, host, port string }{
		{"https://gateway.example:4433", "gateway.example", "4433"},
		{"https://gateway.example", "gateway.example", "443"},
		{"https://gateway.example/", "gateway.example", "443"},
		{"https://127.0.0.1:4433/swarm", "127.0.0.1", "4433"},
		{"https://[2001:db8::1]:4433", "2001:db8::1", "4433"},
		{"https://[fe80::1%25eth0]:4433", "fe80::1%eth0", "4433"},
		{"gateway.example:4433", "gateway.example", "4433"},
		{"gateway.example", "gateway.example", "443"},
		{"127.0.0.1", "127.0.0.1", "443"},
		{"[2001:db8::1]:4433", "2001:db8::1", "4433"},
		{"[2001:db8::1]", "2001:db8::1", "443"},
		{"2001:db8::1", "2001:db8::1", "443"},
		{"fe80::1%eth0", "fe80::1%eth0", "443"},
		{"swarmgate://gateway.example#wowcool", "gateway.example", "443"},
		{" SWARMGATE://[::1]:4433/ ", "::1", "4433"},
		{"https://Gateway.Example:4433", "gateway.example", "4433"},
		{"https://gateway.example.", "gateway.example.", "443"},
		{"https://b\u00fccher.example:4433/swarm", "xn--bcher-kva.example", "4433"},
		{"B\u00dcCHER.example", "xn--bcher-kva.example", "443"},
		{"b\u00fccher.example.:4433", "xn--bcher-kva.example.", "4433"},
		{"swarmgate://b\u00fccher.example:4433/", "xn--bcher-kva.example", "4433"},
		{"https://my_app_gateway:4433", "my_app_gateway", "4433"},
		{"https://app.localhost:4433", "app.localhost", "4433"},
		// Bad ones.
		{in: ""},
		{in: ":4433"},
		{in: "https://"},
		{in: "https://:4433"},
		{in: "http://gateway.example"},
		{in: "https://user@gateway.example"},
		{in: "https://gateway.example/other"},
		{in: "https://gateway.example?a=b"},
		{in: "https://gateway.example#a"},
		{in: "https://gateway.example:port"},
		{in: "a:b:c"},
		{in: "a..b"},
		{in: "https://127.1"},
		{in: "b\u00fc cher.example"},
		{in: "swarmgate://gateway.example/?h=1"},
	} {
		g, err := parseGateway(tt.in)
		if err != nil {
			g = &gateway{}
		}
		if g.host != tt.host || g.port != tt.port || (err == nil) != (tt.host != "") {
			t.Errorf("parseGateway(%q) = %q, %q, %v, want %q, %q", tt.in, g.host, g.port, err, tt.host, tt.port)
		}
	}
}
