package static

import (
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestParse(t *testing.T) {
	hex := strings.Repeat("0aB1", 16)
	bytes, err := wtproto.ParseTopic(hex)
	if err != nil {
		t.Fatal(err)
	}
	name := wtproto.TopicFromName
	for _, tc := range []struct {
		in   string
		want Peer
	}{
		{"wowcool=tcp://example.com:80", Peer{name("wowcool"), "example.com:80"}},
		{hex + "=tcp://10.0.0.1:65535", Peer{bytes, "10.0.0.1:65535"}},
		{"a=b=tcp://localhost:1", Peer{name("a=b"), "localhost:1"}},
		{"a b=tcp://my_host-2.lan.:080", Peer{name("a b"), "my_host-2.lan.:80"}},
		{"x=tcp://[2001:DB8::0:1]:80", Peer{name("x"), "[2001:db8::1]:80"}},
		{"x=tcp://[fe80::1%eth0]:80", Peer{name("x"), "[fe80::1%eth0]:80"}},
	} {
		got, err := Parse(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("Parse(%q) = %v, %v, want %v", tc.in, got, err, tc.want)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%q) = %v, %v, want the same", got, again, err)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "want TOPIC=tcp://HOST:PORT",
		"tcp://host:80":                "want TOPIC=tcp://HOST:PORT",
		"=tcp://host:80":               "the topic is empty",
		"x=host:80":                    "does not begin with tcp://",
		"x=udp://host:80":              "does not begin with tcp://",
		"x=/ip4/10.0.0.1/tcp/80/p2p/Q": "a multiaddr names a libp2p host",
		"x=tcp://host":                 "want HOST:PORT",
		"x=tcp://2001:db8::1:80":       "an IPv6 address in brackets",
		"x=tcp://:80":                  `host "" is neither`,
		"x=tcp://ho st:80":             `host "ho st" is neither`,
		"x=tcp://user@host:80":         `host "user@host" is neither`,
		"x=tcp://10.0.0.256:80":        `host "10.0.0.256" is neither`,
		"x=tcp://10.1:80":              `host "10.1" is neither`,
		"x=tcp://[2001:db8::g]:80":     `host "2001:db8::g" is neither`,
		"x=tcp://host:0":               `port "0" is not a number`,
		"x=tcp://host:65536":           `port "65536" is not a number`,
		"x=tcp://host:http":            `port "http" is not a number`,
		"x=tcp://host:80/":             `port "80/" is not a number`,
	} {
		if p, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, %v, want an error that says %q", in, p, err, want)
		}
	}
}
