package server

import (
	"context"
	"crypto/tls"
	"iter"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// named is a network that has a name and finds nobody.
type named string

func (n named) Name() string { return string(n) }
func (n named) Close() error { return nil }

func (n named) Join(ctx context.Context, _ wtproto.Topic, _ *discovery.Presence) iter.Seq2[discovery.Sighting, error] {
	return func(func(discovery.Sighting, error) bool) { <-ctx.Done() }
}

// Windows for so many circuits once had more than the 62 bits of QUIC's numbers, and then fewer
// than none.
func TestConfigOverflow(t *testing.T) {
	for _, cfg := range []Config{
		{MaxCircuits: maxCircuits + 1},
		{MaxCircuits: math.MaxInt},
		{MaxTopics: math.MaxInt/2 + 1},
		{MaxTopics: math.MaxInt},
	} {
		cfg.TLS = &tls.Config{}
		if _, err := New(cfg); err == nil {
			t.Errorf("MaxCircuits %d, MaxTopics %d: no error", cfg.MaxCircuits, cfg.MaxTopics)
		}
	}
	if s, err := New(Config{TLS: &tls.Config{}, MaxCircuits: maxCircuits, MaxTopics: math.MaxInt / 2}); err != nil {
		t.Errorf("the largest numbers: %v", err)
	} else {
		s.Close()
	}
}

func TestConfigMistakes(t *testing.T) {
	many := make([]discovery.Network, wtproto.MaxNetworks+1)
	for i := range many {
		many[i] = named(rune('a' + i))
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // empty for none
	}{
		{"the least", func(*Config) {}, ""},
		{"no TLS", func(c *Config) { c.TLS = nil }, "no TLS"},
		{"the longest agent", func(c *Config) { c.Agent = strings.Repeat("a", wtproto.MaxAgent) }, ""},
		{"an agent too long", func(c *Config) { c.Agent = strings.Repeat("a", wtproto.MaxAgent+1) }, "agent has 257 bytes"},
		{"a nil network", func(c *Config) { c.Networks = []discovery.Network{named("lan"), nil} }, "network 1 is nil"},
		{"a network without a name", func(c *Config) { c.Networks = []discovery.Network{named("")} }, `network 0: name ""`},
		{"a network with a long name", func(c *Config) { c.Networks = []discovery.Network{named(strings.Repeat("n", wtproto.MaxNetwork+1))} }, "has 65 bytes"},
		{"two networks with one name", func(c *Config) { c.Networks = []discovery.Network{named("lan"), named("lan")} }, `network 1: name "lan" is taken`},
		{"a network with the name of clients", func(c *Config) { c.Networks = []discovery.Network{named(wtproto.NetworkClient)} }, `name "client" is taken`},
		{"as many networks as may be", func(c *Config) { c.Networks = many[1:] }, ""},
		{"one network too many", func(c *Config) { c.Networks = many }, "17 networks"},
		{"good origins", func(c *Config) {
			c.Origins = []string{"https://app.example", "http://127.0.0.1:8080", "https://[::1]:443", "*"}
		}, ""},
		{"an origin without a scheme", func(c *Config) { c.Origins = []string{"app.example"} }, `origin "app.example"`},
		{"an origin with a path", func(c *Config) { c.Origins = []string{"https://app.example/a"} }, `origin "https://app.example/a"`},
		{"an origin below all", func(c *Config) { c.Origins = []string{"https://*"} }, `origin "https://*"`},
		{"a name with a scheme", func(c *Config) { c.Names = []string{"https://a.example"} }, `name "https://a.example"`},
		{"an origin with a query", func(c *Config) { c.Origins = []string{"https://app.example?a"} }, `origin "https://app.example?a"`},
		{"an origin with a fragment", func(c *Config) { c.Origins = []string{"https://app.example#a"} }, `origin "https://app.example#a"`},
		{"an origin with a user", func(c *Config) { c.Origins = []string{"https://me@app.example"} }, `origin "https://me@app.example"`},
		{"an origin that is none", func(c *Config) { c.Origins = []string{"https://%"} }, `origin "https://%"`},
		{"a trusted proxy that is no range", func(c *Config) { c.TrustedProxies = []netip.Prefix{{}} }, "trusted proxy invalid Prefix"},
		{"a trusted proxy of IPv4 as IPv6", func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }, "trusted proxy ::ffff:10.0.0.0/104"},
		{"negative memory", func(c *Config) { c.Memory = -1 }, "negative Memory"},
		{"negative HelloTimeout", func(c *Config) { c.HelloTimeout = -1 }, "negative HelloTimeout"},
		{"negative FirstFrameTimeout", func(c *Config) { c.FirstFrameTimeout = -1 }, "negative FirstFrameTimeout"},
		{"negative OfferTimeout", func(c *Config) { c.OfferTimeout = -1 }, "negative OfferTimeout"},
		{"negative DialTimeout", func(c *Config) { c.DialTimeout = -1 }, "negative DialTimeout"},
		{"negative WebSocketPing", func(c *Config) { c.WebSocketPing = -1 }, "negative WebSocketPing"},
		{"negative PingAfter", func(c *Config) { c.PingAfter = -1 }, "negative PingAfter"},
		{"negative Idle", func(c *Config) { c.Idle = -1 }, "negative Idle"},
		{"negative Silence", func(c *Config) { c.Silence = -1 }, "negative Silence"},
		{"negative Grace", func(c *Config) { c.Grace = -1 }, "negative Grace"},
		{"negative limits", func(c *Config) {
			c.MaxSessions, c.MaxSessionsPerPrincipal, c.MaxTopics, c.MaxCircuits, c.DefaultPeers = -1, -1, -1, -1, -1
			c.ControlRate, c.MaxControlBytes, c.MaxPeers, c.TopicDials, c.SessionDials, c.Dials = -1, -1, -1, -1, -1, -1
		}, ""},
	} {
		cfg := Config{TLS: &tls.Config{}}
		test.change(&cfg)
		s, err := New(cfg)
		switch {
		case test.want == "" && (err != nil || s == nil):
			t.Errorf("%s: New = %v", test.name, err)
		case test.want != "" && (err == nil || s != nil || !strings.HasPrefix(err.Error(), "server: config: ") || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: New = %v, want %q in it", test.name, err, test.want)
		}
	}
}

func TestConfigReportsAllMistakes(t *testing.T) {
	_, err := New(Config{
		Agent:    strings.Repeat("a", 1000),
		Networks: []discovery.Network{nil, named(""), named("lan"), named("lan")},
		Origins:  []string{"one", "*", "two"},
		Memory:   -1, Idle: -1, Grace: -1,
	})
	if err == nil {
		t.Fatal("New of nothing but mistakes = nil")
	}
	for _, want := range []string{
		"no TLS", "agent", "network 0", "network 1", "network 3", `"one"`, `"two"`, "Memory", "Idle", "Grace",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 10 {
		t.Errorf("%d mistakes told, want 10: %v", n, err)
	}
}

func TestConfigDefaults(t *testing.T) {
	c := Config{}.withDefaults()
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"MaxSessions", c.MaxSessions, 10_000},
		{"MaxSessionsPerPrincipal", c.MaxSessionsPerPrincipal, 256},
		{"MaxTopics", c.MaxTopics, 64},
		{"MaxCircuits", c.MaxCircuits, 256},
		{"DefaultPeers", c.DefaultPeers, 64},
		{"ControlRate", c.ControlRate, 100.0},
		{"ControlBurst", c.ControlBurst, 200},
		{"ControlBurst with 1,000 topics", Config{MaxTopics: 1000}.withDefaults().ControlBurst, 2000},
		{"ControlBurst without a limit of a session's topics", Config{MaxTopics: -1}.withDefaults().ControlBurst, 40_000},
		{"ControlBurst with another limit", Config{MaxTopics: -1, MaxTopicsPerPrincipal: 500}.withDefaults().ControlBurst, 1000},
		{"MaxControlBytes", c.MaxControlBytes, 64 << 10},
		{"MaxPeers", c.MaxPeers, 1024},
		{"TopicDials", c.TopicDials, 8},
		{"SessionDials", c.SessionDials, 16},
		{"Dials", c.Dials, 256},
		{"HelloTimeout", c.HelloTimeout, 5 * time.Second},
		{"FirstFrameTimeout", c.FirstFrameTimeout, 5 * time.Second},
		{"OfferTimeout", c.OfferTimeout, 10 * time.Second},
		{"DialTimeout", c.DialTimeout, 10 * time.Second},
		{"WebSocketPing", c.WebSocketPing, 25 * time.Second},
		{"PingAfter", c.PingAfter, 20 * time.Second},
		{"Idle", c.Idle, time.Minute},
		{"Silence", c.Silence, 25 * time.Second},
		{"Grace", c.Grace, 15 * time.Second},
		{"Agent", c.Agent, "swarmgate"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %v, want %v", test.name, test.got, test.want)
		}
	}
	if c.Memory <= 0 || c.Observer == nil || c.Logger == nil {
		t.Errorf("Memory %d, Observer %v, Logger %v, want something for each", c.Memory, c.Observer, c.Logger)
	}
	if c.Logger.Enabled(t.Context(), 100) {
		t.Error("the logger of nobody is not silent")
	}
}

func TestConfigKeepsWhatIsSet(t *testing.T) {
	in := Config{MaxSessions: 1, MaxTopics: -1, ControlRate: 0.5, Idle: time.Hour, Memory: 1 << 20, Agent: "mine"}
	out := in.withDefaults()
	if out.MaxSessions != 1 || out.MaxTopics != -1 || out.ControlRate != 0.5 || out.Idle != time.Hour || out.Memory != 1<<20 || out.Agent != "mine" {
		t.Errorf("withDefaults of %+v = %+v", in, out)
	}
}

func TestPagesThatMayHaveSessions(t *testing.T) {
	listed := Config{Origins: []string{"https://app.example", "http://127.0.0.1:8080", "https://*.below.example"}}
	named := Config{Names: []string{"gate.example", "other.example:8443", "192.0.2.1"}}
	for _, test := range []struct {
		cfg          Config
		origin, host string
		want         bool
	}{
		{Config{}, "", "", true}, // a native program
		{Config{}, "https://app.example", "app.example", false},
		{listed, "", "", true},
		{listed, "https://app.example", "", true},
		{listed, "HTTPS://App.Example", "", true},
		{listed, "http://127.0.0.1:8080", "", true},
		{listed, "https://a.below.example", "", true},
		{listed, "https://below.example", "", false},
		{listed, "http://127.0.0.1", "", false},
		{listed, "http://app.example", "", false},
		{listed, "https://app.example:444", "app.example:444", false},
		{listed, "https://app.example.evil.example", "", false},
		{listed, "https://evil.example", "", false},
		{listed, "null", "", false},
		{Config{Origins: []string{"*"}}, "https://evil.example", "", true},
		{Config{Origins: []string{"*"}}, "null", "", true},
		// The gateway's own pages, at whatever port a browser reaches it.
		{named, "https://gate.example", "", true},
		{named, "https://gate.example:4433", "", true},
		{named, "https://gate.example.:4433", "", true},
		{named, "https://gate.example:8443", "gate.example:8443", true},
		{named, "https://gate.example:8443", "gate.example", false},
		{named, "https://gate.example:8443", "other.example:8443", false},
		{named, "https://other.example:8443", "", true},
		{named, "https://192.0.2.1:9", "192.0.2.1:9", true},
		{named, "http://gate.example", "gate.example:80", false},
		{named, "https://evil.example:4433", "evil.example:4433", false}, // which was pointed at the gateway
		{named, "null", "", false},
	} {
		s := quietServer(t, test.cfg)
		if got := s.pages.allow(page{test.origin, test.host}, s.port()); got != test.want {
			t.Errorf("origin %q, host %q with %q and %q: allowed %v, want %v", test.origin, test.host, test.cfg.Origins, test.cfg.Names, got, test.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		n, limit   int
		within     bool
		advertised uint64
	}{
		{0, 1, true, 1}, {1, 1, false, 1}, {2, 1, false, 1}, {0, 0, false, 0}, {0, -1, true, 0}, {1 << 30, -1, true, 0}, {63, 64, true, 64},
	} {
		if got := within(test.n, test.limit); got != test.within {
			t.Errorf("within(%d, %d) = %v, want %v", test.n, test.limit, got, test.within)
		}
		if got := advertised(test.limit); got != test.advertised {
			t.Errorf("advertised(%d) = %d, want %d", test.limit, got, test.advertised)
		}
	}
	for limit, want := range map[int]int{1: 1, 256: 256, -1: unlimitedCircuits} {
		if got := (&Config{MaxCircuits: limit}).circuits(); got != want {
			t.Errorf("windows for %d circuits with MaxCircuits %d, want %d", got, limit, want)
		}
	}
}
