//go:build !race

package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// startWith runs cmd/server with variables in its environment, and returns what it logs until it
// is ready, and later.
func startWith(t *testing.T, environment []string, args ...string) (*program.Program, *logged) {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{t: t}
	cmd := exec.Command(binary, append([]string{"--listen", "127.0.0.1:0", "--dht", "off"}, args...)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), environment...), log
	return program.StartCommand(t, cmd), log
}

// ends runs cmd/server with variables in its environment until it ends by itself. It returns the
// exit status, and what it prints on both outputs.
func ends(t *testing.T, environment []string, args ...string) (status int, printed string) {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(gateway.Context(t), binary, append([]string{"--dht", "off"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// A list of the environment with spaces after its commas made a topic called " two", on which
// nobody ever was.
func TestListsOfTheEnvironment(t *testing.T) {
	at := gateway.Listen(t, gateway.Echo).Addr().String()
	p, _ := startWith(t, []string{
		"SWARMGATE_STATIC= one=tcp://" + at + ", two=tcp://" + at + " ,\n\tthree=tcp://" + at + ",\r\n",
		"SWARMGATE_MAX_TOPICS= 7 ", "SWARMGATE_SHOW_ADDRESSES=true\r",
	})
	c, err := enter(t, p, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Session().MaxTopics; n != 7 {
		t.Errorf("%d topics a session, want 7", n)
	}
	for _, topic := range []string{"one", "two", "three"} {
		conn := gateway.Accept(t, gateway.Join(t, c, wtproto.TopicFromName(topic), client.JoinOptions{}))
		if got := conn.Peer().Address; got != "tcp://"+at {
			t.Errorf("the peer of %s is at %s, want %s", topic, got, at)
		}
	}
}

// A composed file says ${X:-} for what may not be there. The program took each empty variable for
// a bad value, and SWARMGATE_CONFIG= for a file whose name is the working directory.
func TestEmptyVariables(t *testing.T) {
	var environment []string
	for _, name := range []string{
		"LISTEN", "ADMIN", "DEV_HTTP", "NAME", "STATIC", "CONFIG", "TOKEN_FILE", "STATE_DIR", "CERT", "KEY", "LAN", "MAX_TOPICS",
		"DRAIN", "MEMORY", "LOG_FORMAT", "DHT_SEED", "DIAL_ALLOW", "CONNECT_CLIENTS",
	} {
		environment = append(environment, "SWARMGATE_"+name+"=")
	}
	p, log := startWith(t, append(environment, "SWARMGATE_DEMO= "))
	if c, err := enter(t, p, ""); err != nil || c.Session().MaxTopics != 64 {
		t.Errorf("a session: %v, %v", c, err)
	}
	log.has(t, "variable=SWARMGATE_CONFIG")
	log.hasNot(t, "SWARMGATE_LAN")
}

// The variables of cmd/swarm are read alike: an empty SWARMGATE_TRANSPORT was a mistake, and so was
// a space in a list of gateways.
func TestVariablesOfSwarm(t *testing.T) {
	p, _ := startWith(t, nil)
	for name, value := range map[string]string{
		"GATEWAY":   " swarmgate://" + p.QUIC + "/?h=" + p.Certificate.Hashes[0] + " , https://127.0.0.1:1,\n",
		"TRANSPORT": "", "TOKEN": "", "SECRET": " ",
	} {
		t.Setenv("SWARMGATE_"+name, value)
	}
	if said := program.Swarm(t)("", "status"); !strings.Contains(said, p.Certificate.Hashes[0]) {
		t.Errorf("swarm status prints %s, want the hash of the gateway", said)
	}
}

// A misspelt variable said nothing, so a gateway whose SWARMGATE_TOKEN_FIEL named its tokens let
// everybody in.
func TestMisspeltVariables(t *testing.T) {
	status, printed := ends(t, []string{"SWARMGATE_TOKEN_FIEL=/etc/tokens", "SWARMGATE_LISTNE=:1", "swarmgate_name=a.example"})
	for _, want := range []string{
		"SWARMGATE_TOKEN_FIEL is not an option; did you mean SWARMGATE_TOKEN_FILE?",
		"SWARMGATE_LISTNE is not an option; did you mean SWARMGATE_LISTEN?",
		"swarmgate_name is not an option; did you mean SWARMGATE_NAME?",
	} {
		if !strings.Contains(printed, "swarmgate: "+want) {
			t.Errorf("no line says %s", want)
		}
	}
	if status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	if t.Failed() {
		t.Logf("it prints:\n%s", printed)
	}
}

// Others have variables that begin so: swarm, Kubernetes for each Service that is called
// swarmgate, and people for the tag of their image.
func TestVariablesOfOthers(t *testing.T) {
	_, log := startWith(t, []string{
		"SWARMGATE_TOKEN=x", "SWARMGATE_GATEWAY=https://gateway.example", "SWARMGATE_SECRET=y", "SWARMGATE_TRANSPORT=quic",
		"SWARMGATE_SERVICE_HOST=10.0.0.1", "SWARMGATE_SERVICE_PORT=4433", "SWARMGATE_SERVICE_PORT_QUIC=4433",
		"SWARMGATE_PORT=udp://10.0.0.1:4433", "SWARMGATE_PORT_4433_UDP=udp://10.0.0.1:4433", "SWARMGATE_PORT_4433_UDP_PROTO=udp",
		"SWARMGATE_PORT_4433_UDP_PORT=4433", "SWARMGATE_PORT_4433_UDP_ADDR=10.0.0.1",
		"SWARMGATE_ADMIN_SERVICE_HOST=10.0.0.2", "SWARMGATE_ADMIN_PORT=tcp://10.0.0.2:9090", "SWARMGATE_ADMIN_PORT_9090_TCP=tcp://10.0.0.2:9090",
		"SWARMGATE_TAG=v1.2.3",
	})
	log.has(t, "variable=SWARMGATE_TAG")
	for _, quiet := range []string{"_TOKEN", "_GATEWAY", "_SECRET", "_TRANSPORT", "_SERVICE", "_PORT"} {
		log.hasNot(t, quiet)
	}
}

// A file whose values were aliases was refused: "want one value".
func TestAliasesOfTheFile(t *testing.T) {
	peer := gateway.Listen(t, gateway.Echo)
	file := filepath.Join(t.TempDir(), "swarmgate.yaml")
	text := `
x-common: &common
  max-topics: &few 7
  admin: &loopback 127.0.0.1:0
x-peer: &peer one=tcp://` + peer.Addr().String() + `
<<: *common
dev-http: *loopback
max-circuits: *few
static: [*peer]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _ := startWith(t, nil, "--config", file)
	if p.Admin == "" || !strings.HasPrefix(p.Info, "http://127.0.0.1:") {
		t.Errorf("admin at %q, info at %q; want both on loopback", p.Admin, p.Info)
	}
	c, err := enter(t, p, "")
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Session(); w.MaxTopics != 7 || w.MaxCircuits != 7 {
		t.Errorf("%d topics and %d circuits, want 7 of each", w.MaxTopics, w.MaxCircuits)
	}
	gateway.Accept(t, gateway.Join(t, c, wtproto.TopicFromName("one"), client.JoinOptions{}))
}
