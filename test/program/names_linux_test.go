package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Clients once asked the DNS for bücher.example as it is written, and for app.localhost, which is
// this machine for every browser.
func TestSwarmKnowsGatewaysByAllNames(t *testing.T) {
	g := program.Start(t, "--listen", "127.0.0.1:0", "--dev-http", "127.0.0.1:0", "--dht", "off",
		"--name", "b\u00fccher.example", "--name", "my_app_gateway")
	binary, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost xn--bcher-kva.example my_app_gateway\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(g.QUIC, ":")
	site := strings.TrimSuffix(g.Info, "/.well-known/swarmgate")
	_, devPort, _ := strings.Cut(strings.TrimPrefix(site, "http://"), ":")
	if want := "xn--bcher-kva.example:" + port; g.QUIC != want {
		t.Errorf("the ready line says %s, want %s", g.QUIC, want)
	}
	for _, c := range []struct{ gateway, transports string }{
		{"https://b\u00fccher.example:" + port, "quic websocket"},
		{"B\u00dcCHER.Example.:" + port, "quic websocket"},
		{"swarmgate://b\u00fccher.example:" + port + "/", "quic"},
		{"https://my_app_gateway:" + port, "quic"},
		{"https://app.localhost:" + port, "quic websocket"},
		{"http://a.b.localhost:" + devPort, "quic"},
	} {
		gateway := c.gateway
		for transport := range strings.FieldsSeq(c.transports) {
			args := []string{
				"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts,
				binary, "status", "--json", "--gateway", gateway, "--transport", transport,
			}
			if !strings.HasPrefix(gateway, "http://") {
				args = append(args, "--cert-hash", g.Certificate.Hashes[0])
			}
			cmd := exec.CommandContext(t.Context(), "unshare", args...)
			cmd.Env = append(os.Environ(), "HTTP_PROXY=http://127.0.0.1:1")
			if strings.Contains(gateway, "localhost") {
				cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://127.0.0.1:1") // never for this machine
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), `"version":1`) {
				t.Errorf("%s by %s: %v\n%s", gateway, transport, err, out)
			}
		}
	}
}
