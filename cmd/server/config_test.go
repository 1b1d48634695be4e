package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/wtproto"
)

// writeFile returns the name of a new file with content.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "swarmgate.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// parsed is parse for arguments that are right.
func parsed(t *testing.T, args ...string) *options {
	t.Helper()
	o, err := parse(args, io.Discard)
	if err != nil {
		t.Fatalf("parse(%q): %v", args, err)
	}
	return o
}

func TestFlagsComeBeforeEnvironmentBeforeFileBeforeDefaults(t *testing.T) {
	file := writeFile(t, `
max-topics: 11
max-circuits: 12
max-sessions: 13
connect-clients: no
name: [file.example]
dial-allow:
  - 192.0.2.0/24
  - 198.51.100.0/24
drain: 1m
static:
`)
	t.Setenv("SWARMGATE_MAX_TOPICS", "21")
	t.Setenv("SWARMGATE_MAX_CIRCUITS", "22")
	t.Setenv("SWARMGATE_NAME", "one.example,Two.Example")
	o := parsed(t, "--max-topics", "31", "--config", file)
	for _, c := range []struct {
		name      string
		got, want limit
	}{
		{"max-topics, by flag", o.MaxTopics, 31},
		{"max-circuits, by environment", o.MaxCircuits, 22},
		{"max-sessions, by file", o.MaxSessions, 13},
		{"default-peers, by default", o.DefaultPeers, 64},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.name, c.got, c.want)
		}
	}
	if o.ConnectClients {
		t.Error("connect-clients is on, want off by file")
	}
	if want := []string{"one.example", "two.example"}; !slices.Equal(o.names(), want) {
		t.Errorf("names = %q, want %q", o.names(), want)
	}
	if got := o.policy().Allow; len(got) != 2 || got[1].String() != "198.51.100.0/24" {
		t.Errorf("dial-allow = %v, want the two of the file", got)
	}
	if o.Drain != duration(time.Minute) || len(o.Static) != 0 {
		t.Errorf("drain = %v, static = %v, want 1m and none", time.Duration(o.Drain), o.Static)
	}
}

func TestFileMayBeNamedByTheEnvironment(t *testing.T) {
	t.Setenv("SWARMGATE_CONFIG", writeFile(t, "log-level: debug\np2p-listen: /ip4/127.0.0.1/tcp/0\n"))
	t.Setenv("SWARMGATE_P2P_LISTEN", "/ip4/127.0.0.2/tcp/0")
	o := parsed(t)
	if o.LogLevel != slog.LevelDebug {
		t.Errorf("log-level = %v, want debug", o.LogLevel)
	}
	if want := []string{"/ip4/127.0.0.2/tcp/0"}; !slices.Equal(o.P2PListen, want) {
		t.Errorf("p2p-listen = %q, want %q", o.P2PListen, want)
	}
}

func TestFlagsMayBeRepeated(t *testing.T) {
	o := parsed(t, "--static", "a=tcp://127.0.0.1:1", "--static=b=tcp://[::1]:2,c=tcp://peer.example:3",
		"--allow-origin", "https://A.example", "--allow-origin", "*", "--max-topics", "-1")
	if got := o.staticServices(); len(got) != 3 || got[1].Address != "[::1]:2" || got[2].Topic != wtproto.TopicFromName("c") {
		t.Errorf("static = %v, want three services", got)
	}
	if want := []origin{"https://a.example", "*"}; !slices.Equal(o.AllowOrigin, want) {
		t.Errorf("allow-origin = %q, want %q", o.AllowOrigin, want)
	}
	if o.MaxTopics != -1 {
		t.Errorf("max-topics = %d, want -1", o.MaxTopics)
	}
}

// An operator who fixes a configuration wants to see all its mistakes at once, not one at each
// start.
func TestEveryMistakeIsReported(t *testing.T) {
	file := writeFile(t, `
lan: perhaps
drain: [1s, 2s]
static: [a=tcp://b:1, c, "d="]
admin: {port: 1}
name: [[x]]
listne: ":1"
config: other.yaml
version: true
`)
	t.Setenv("SWARMGATE_MEMORY", "3K")
	t.Setenv("SWARMGATE_SHOW_ADDRESSES", "maybe")
	_, err := parse([]string{
		"--listen", "x", "--dev-http", "127.0.0.1:70000", "--dht", "secret", "--dht-seed", "nowhere",
		"--p2p-listen", "/ip4/127.0.0.1/udp/1", "--static", "e=/ip4/127.0.0.1/tcp/1", "--dial-allow", "10.0.0.0",
		"--dial-allow", "::ffff:10.0.0.0/104", "--trusted-proxy", "balancer", "--allow-origin", "https://a.example/page", "--max-sessions", "0", "--max-topics", "many",
		"--log-level", "loud", "--log-format", "xml", "--key", "key.pem", "--demo-exit", "--pprof", "--qlog", "--lan-interface", "eth0", "--lan-any-host", "--network-on-request", "moon",
		"--dat-bootstrap", "node", "--dat-bootstrap", "none", "--dat-bootstrap", "a:1", "--dat-dns", ":53", "--dat-dns", "none", "--dat-listen", "x:y", "--dat-ports", "9-1",
		"--token-file", "tokens", "--auth-url", "https://auth.example", "--jwt-audience", "gate",
		"--config", file,
	}, io.Discard)
	if err == nil {
		t.Fatal("parse = nil")
	}
	for _, want := range []string{
		`--listen: "x": want HOST:PORT`,
		`--dev-http: "127.0.0.1:70000": port "70000"`,
		`--dht: p2p: mode "secret"`,
		`Seeds: nowhere: must begin with /`,
		`Listen: /ip4/127.0.0.1/udp/1: want`,
		`Static: /ip4/127.0.0.1/tcp/1: want /p2p/ID at its end`,
		`--dial-allow: "10.0.0.0" is not a range`,
		`--trusted-proxy: "balancer" is not a range`,
		`::ffff:10.0.0.0/104: write an IPv4 range as IPv4`,
		`--allow-origin: "https://a.example/page": want scheme://host`,
		`--max-sessions: 0 lets nobody in`,
		`--max-topics: "many" is not a number`,
		`--log-level: "loud"`,
		`--log-format: "xml"`,
		`--cert and --key need each other`,
		`--demo-exit needs --demo`,
		`--pprof needs --admin`,
		`--qlog needs --admin`,
		`--token-file and --auth-url each say who may connect`,
		`--jwt-audience needs --jwt-key`,
		`--lan-interface needs --lan`,
		`--lan-any-host needs --lan`,
		`--network-on-request "moon": want dht, lan, static or client`,
		`--dat-bootstrap: "node": want HOST:PORT`,
		`--dat-bootstrap none is alone`,
		`--dat-bootstrap needs --dat`,
		`--dat-dns: ":53": want HOST:PORT`,
		`--dat-dns none: leave the option out`,
		`--dat-listen: "x:y": port "y"`,
		`--dat-ports: "9-1": the range ends before it begins`,
		`SWARMGATE_MEMORY: "3K" is not a size`,
		`SWARMGATE_SHOW_ADDRESSES: "maybe": want true or false`,
		file + `: lan: "perhaps": want true or false`,
		file + `: drain: want one value`,
		file + `: admin: want one value`,
		file + `: name: want a list of single values`,
		file + `: unknown option "listne"; did you mean "listen"?`,
		file + `: unknown option "config"`,
		file + `: unknown option "version"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no mistake says %s", want)
		}
	}
	if strings.Contains(err.Error(), "static: a=") {
		t.Error("a flag does not hide the file's list")
	}
	if t.Failed() {
		t.Logf("it says:\n%v", err)
	}
}

func TestBadCommandLinesAndFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"--dth", "off"}, `unknown flag --dth, did you mean one of "--dht", "--dat"?`},
		{"argument", []string{"serve"}, "unexpected argument serve"},
		{"no value", []string{"--listen"}, "--listen: "},
		{"no file", []string{"--config", "/does/not/exist"}, "/does/not/exist"},
		{"no mapping", []string{"--config", writeFile(t, "- a\n- b\n")}, "cannot unmarshal"},
		{"two documents", []string{"--config", writeFile(t, "lan: true\n---\nlan: false\n")}, "want one document"},
		{"twice", []string{"--config", writeFile(t, "lan: true\nlan: false\n")}, `"lan" already defined`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(append([]string{"--max-topics", "many"}, c.args...), io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("parse = %v, want %s", err, c.want)
			}
			if err != nil && c.name != "unknown flag" && !strings.Contains(err.Error(), "--max-topics") {
				t.Errorf("parse = %v, want the mistake before it too", err)
			}
		})
	}
}

func TestEmptyFile(t *testing.T) {
	if o := parsed(t, "--config", writeFile(t, "# nothing\n")); o.DHT != p2p.Public {
		t.Errorf("dht = %v, want public", o.DHT)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"--help": "--dht-seed=MULTIADDR", "--version": "swarmgate " + version()} {
		var out strings.Builder
		if _, err := parse([]string{arg}, &out); !errors.Is(err, errHelp) || !strings.Contains(out.String(), want) {
			t.Errorf("parse(%s) = %v, printed %q; want errHelp and %q", arg, err, out.String(), want)
		}
	}
}

func TestDemoImplies(t *testing.T) {
	o := parsed(t, "--demo")
	if !o.AllowPrivate || o.DHT != p2p.Private || !o.LAN || o.LogLevel != slog.LevelWarn {
		t.Errorf("allow-private %v, dht %v, lan %v, log-level %v; want true, private, true, warn", o.AllowPrivate, o.DHT, o.LAN, o.LogLevel)
	}
	if got, want := o.listens(), []hostPort{"127.0.0.1:4433", "127.0.0.1:0"}; !slices.Equal(got, want) {
		t.Errorf("listen = %q, want %q", got, want)
	}
	if got, want := o.devListens(), []hostPort{"127.0.0.1:8080", "127.0.0.1:0"}; !slices.Equal(got, want) {
		t.Errorf("dev-http = %q, want %q", got, want)
	}
	if got := o.hostListens(); len(got) != 1 || !o.onLoopback() {
		t.Errorf("p2p-listen = %q, want loopback", got)
	}
	o = parsed(t, "--demo", "--no-lan", "--log-level", "error", "--listen", "127.0.0.1:1", "--dev-http", "127.0.0.1:2")
	if o.LAN || o.LogLevel != slog.LevelError || len(o.listens()) != 1 || len(o.devListens()) != 1 {
		t.Errorf("lan %v, log-level %v, listen %q, dev-http %q; want what was given", o.LAN, o.LogLevel, o.listens(), o.devListens())
	}
	for _, args := range [][]string{{"--demo", "--dht", "off"}, {"--demo", "--cert", "a", "--key", "b"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("parse(%q) = nil", args)
		}
	}
}

func TestHostListens(t *testing.T) {
	const seed = "/p2p/12D3KooWKdouoVYdT9rpQnqRzyyu8Z3uCsFiZ3Vi4DRu4tY7dvpo"
	for _, c := range []struct {
		args  string
		first string // the first candidate
		n     int
	}{
		{"", "/ip4/0.0.0.0/tcp/4434 /ip6/::/tcp/4434", 4},
		{"--dht private", "/ip4/0.0.0.0/tcp/4434 /ip6/::/tcp/4434", 4},
		{"--dht off", "", 0},
		{"--dht off --lan", "/ip4/0.0.0.0/tcp/4434 /ip6/::/tcp/4434", 4},
		{"--dht off --p2p-listen /ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0", 1},
		{"--dht off --static a=tcp://127.0.0.1:1", "", 0},
		{"--dht off --static a=/ip4/127.0.0.1/tcp/1" + seed, "", 1},
	} {
		got := parsed(t, strings.Fields(c.args)...).hostListens()
		if len(got) != c.n || c.n > 0 && strings.Join(got[0], " ") != c.first {
			t.Errorf("%q: p2p-listen = %q, want %d with %q first", c.args, got, c.n, c.first)
		}
	}
}

// listener is a net.Listener of which only the address matters.
type listener struct {
	net.Listener
	addr net.TCPAddr
}

func (l *listener) Addr() net.Addr { return &l.addr }

func TestOrigins(t *testing.T) {
	for _, c := range []struct{ args, dev, want string }{
		{"", "", ""},
		{"", "127.0.0.1:8080", "http://*.localhost:8080 http://127.0.0.1:8080 http://localhost:8080"},
		{"", "[::1]:8080", "http://*.localhost:8080 http://[::1]:8080 http://localhost:8080"},
		{"", "[::]:80", "http://*.localhost:80 http://127.0.0.1:80 http://localhost:80"},
		{"", "192.0.2.1:8080", ""},
		{"--name a.example --allow-origin HTTPS://A.example:443/ --allow-origin *", "", "* https://a.example"},
	} {
		var dev net.Listener
		if c.dev != "" {
			dev = &listener{addr: *net.TCPAddrFromAddrPort(mustAddrPort(c.dev))}
		}
		if got := strings.Join(parsed(t, strings.Fields(c.args)...).origins(dev), " "); got != c.want {
			t.Errorf("%q, %q: origins = %s, want %s", c.args, c.dev, got, c.want)
		}
	}
}

func TestWhatTheServerIsTold(t *testing.T) {
	for _, c := range []struct{ args, addr, want, hosts string }{
		{"", "127.0.0.1:4433", "127.0.0.1:4433", ""},
		{"", "[::]:4433", "", ""},
		{"", "10.0.0.1:4433", "", ""}, // the world may know it by another one
		{"--name A.example:443 --name b.example.", "[::]:4433", "a.example:443 b.example", "a.example b.example"},
		{"--name 2001:db8::1 --name [2001:DB8::2]:443", "127.0.0.1:1", "[2001:db8::1] [2001:db8::2]:443", "2001:db8::1 2001:db8::2"},
		{"--name my_app_gateway --name bücher.example", "[::]:4433", "my_app_gateway xn--bcher-kva.example", "my_app_gateway xn--bcher-kva.example"},
	} {
		o := parsed(t, strings.Fields(c.args)...)
		if got := strings.Join(o.publicNames(net.UDPAddrFromAddrPort(mustAddrPort(c.addr))), " "); got != c.want {
			t.Errorf("%q on %s: public names %s, want %s", c.args, c.addr, got, c.want)
		}
		if got := strings.Join(o.names(), " "); got != c.hosts {
			t.Errorf("%q: names %s, want %s", c.args, got, c.hosts)
		}
	}
}
