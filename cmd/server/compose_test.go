package main

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// imageState is where the image keeps its state: its environment says so.
const imageState = "/var/lib/swarmgate"

// composeFile is what deploy/fleet/compose.yaml holds.
type composeFile struct {
	Services map[string]composeService
	Networks map[string]struct {
		IPAM struct {
			Config []struct{ Subnet string }
		}
	}
	Volumes map[string]any
}

type composeService struct {
	Image string
	Build struct{ Context, Dockerfile string }
	// StopGrace is how long it has after SIGTERM.
	StopGrace string `yaml:"stop_grace_period"`
	Command   []string
	Volumes   []string
	Ports     []string
	Networks  yaml.Node
	DependsOn []string `yaml:"depends_on"`
}

// address returns the fixed address of s on the network of the fleet, or none.
func (s composeService) address(t *testing.T) netip.Addr {
	t.Helper()
	var networks map[string]struct {
		IPv4 string `yaml:"ipv4_address"`
	}
	if s.Networks.Kind != yaml.MappingNode {
		return netip.Addr{}
	}
	if err := s.Networks.Decode(&networks); err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddr(networks["fleet"].IPv4)
}

// The parts of deploy/fleet agree with each other and with the program. Docker's own parser has
// seen the file when it was written.
func TestCompose(t *testing.T) {
	const dir = "../../deploy/fleet"
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text := read("compose.yaml")
	const id = "12D3KooWKdouoVYdT9rpQnqRzyyu8Z3uCsFiZ3Vi4DRu4tY7dvpo"
	for _, how := range []string{"'12D3Koo[A-Za-z0-9]*'", "make -C ../.. image-context", "${SEED:-}"} {
		if !strings.Contains(text, how) {
			t.Errorf("compose.yaml does not say %s", how)
		}
	}
	if got := regexp.MustCompile("12D3Koo[A-Za-z0-9]*").FindString(`{"p2p":{"id":"` + id + `","addrs":[]}}`); got != id {
		t.Errorf("the seed's id is found as %q", got)
	}
	var c composeFile
	d := yaml.NewDecoder(strings.NewReader(strings.ReplaceAll(text, "${SEED:-}", id)))
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	subnet := netip.MustParsePrefix(c.Networks["fleet"].IPAM.Config[0].Subnet)
	balancer, seed := c.Services["balancer"], c.Services["seed"]
	var gateways []string
	states := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		s := c.Services[name]
		if name == "balancer" {
			continue
		}
		o := parsed(t, s.Command...)
		if s.Build.Context != "../../bin/image" { // where make image-context puts it
			t.Errorf("%s is built in %s, want ../../bin/image", name, s.Build.Context)
		}
		if _, err := os.Stat(filepath.Join(dir, s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if grace, err := time.ParseDuration(s.StopGrace); err != nil || grace < time.Duration(o.Drain)+15*time.Second {
			t.Errorf("%s has %s to end, want its drain of %v and 15s", name, s.StopGrace, time.Duration(o.Drain))
		}
		volume, mounted, _ := strings.Cut(s.Volumes[0], ":")
		if _, ok := c.Volumes[volume]; len(s.Volumes) != 1 || !ok || states[volume] || mounted != imageState {
			t.Errorf("%s keeps its state in %q, want a volume of its own", name, s.Volumes)
		}
		states[volume] = true
		if len(o.DialAllow) != 1 || netip.Prefix(o.DialAllow[0]) != subnet {
			t.Errorf("%s dials %v, want %v", name, o.DialAllow, subnet)
		}
		if name == "seed" {
			continue
		}
		gateways = append(gateways, name)
		if want := "/ip4/" + seed.address(t).String() + "/tcp/4434/p2p/" + id; !slices.Equal(o.DHTSeed, []string{want}) {
			t.Errorf("%s has the seeds %q, want %s", name, o.DHTSeed, want)
		}
		if trusted := prefixes(o.TrustedProxy); len(trusted) != 1 || !trusted[0].IsSingleIP() || trusted[0].Addr() != balancer.address(t) {
			t.Errorf("%s trusts %v, want %v", name, trusted, balancer.address(t))
		}
		if o.Listen != ":4433" {
			t.Errorf("%s listens on %s", name, o.Listen)
		}
	}
	if o := parsed(t, seed.Command...); !slices.Equal(o.P2PListen, []string{"/ip4/0.0.0.0/tcp/4434"}) {
		t.Errorf("the seed listens on %q", o.P2PListen)
	}
	for _, a := range []netip.Addr{seed.address(t), balancer.address(t)} {
		if !subnet.Contains(a) {
			t.Errorf("%v is not in %v", a, subnet)
		}
	}
	if !slices.Equal(balancer.DependsOn, gateways) || !slices.Equal(balancer.Ports, []string{"4433:4433/udp", "4433:4433/tcp"}) {
		t.Errorf("the balancer waits for %q and has the ports %q", balancer.DependsOn, balancer.Ports)
	}
	conf := read("nginx.conf")
	var upstream []string
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+):4433 `).FindAllStringSubmatch(conf, -1) {
		upstream = append(upstream, m[1])
	}
	if !slices.Equal(upstream, gateways) || !slices.Equal(balancer.Volumes, []string{"./nginx.conf:/etc/nginx/nginx.conf:ro"}) {
		t.Errorf("nginx sends to %q by %q, want %q", upstream, balancer.Volumes, gateways)
	}
	for _, want := range []string{"listen 4433 udp reuseport;", "listen 4433;", "hash $remote_addr consistent;", "proxy_protocol on;"} {
		if !strings.Contains(conf, "\n        "+want+"\n") {
			t.Errorf("nginx.conf does not say %s", want)
		}
	}
	// A session may be silent for a minute, and its connection lives 10s longer.
	for _, m := range regexp.MustCompile(`proxy_timeout (\S+);`).FindAllStringSubmatch(conf, -1) {
		if idle, err := time.ParseDuration(m[1]); err != nil || idle < 90*time.Second {
			t.Errorf("nginx forgets a session after %s", m[1])
		}
	}
	if strings.Contains(conf, "\n        proxy_responses") {
		t.Error("nginx forgets a session after some packets")
	}
}
