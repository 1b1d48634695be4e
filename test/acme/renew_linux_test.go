package acme

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A certificate is renewed while sessions have open circuits: they go on, and who connects then
// gets the new one.
func TestRenewalLosesNoSession(t *testing.T) {
	inside(t, func(t *testing.T) {
		p := newPebble(t, 10*time.Second, nil)
		peer := gateway.Listen(t, gateway.Echo)
		p.start(t, "--name", "localhost", "--listen", ":443", "--state-dir", t.TempDir(), "--acme-check", "200ms",
			"--allow-private", "--no-connect-clients", "--static", "room=tcp://"+peer.Addr().String())
		first := p.trusted(t, "443", "localhost")
		var circuits []*client.Conn
		for _, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
			circuits = append(circuits, p.circuit(t, transport))
		}
		eventually(t, "a new certificate", func() bool {
			for _, c := range circuits {
				echoes(t, c)
			}
			now, err := p.shown(t, "localhost", "443")
			return err == nil && !now.Equal(first)
		})
		for _, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
			circuits = append(circuits, p.circuit(t, transport))
		}
		for _, c := range circuits {
			echoes(t, c)
		}
	})
}

// circuit has a session of its own, which does not come back if it is lost, with a circuit.
func (p *pebble) circuit(t *testing.T, transport string) *client.Conn {
	t.Helper()
	var c *client.Client
	eventually(t, "a session over "+transport, func() (ok bool) { // a certificate of seconds may just have expired
		var err error
		c, err = client.Dial(gateway.Context(t), "https://localhost:443",
			client.Config{RootCAs: p.roots, Transports: []string{transport}, NoReconnect: true})
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return gateway.Accept(t, gateway.Join(t, c, wtproto.TopicFromText("room"), client.JoinOptions{}))
}

// echoes checks that what is sent over c comes back.
func echoes(t *testing.T, c *client.Conn) {
	t.Helper()
	want := bytes.Repeat([]byte("swarm"), 100)
	c.SetDeadline(time.Now().Add(gateway.Patience))
	if _, err := c.Write(want); err != nil {
		t.Fatalf("a circuit was lost: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("a circuit was lost: %v", err)
	}
}

// The gateways of a fleet share a directory: one of them gets each certificate and all have it. The
// one that the authority asks answers for all.
func TestFleetSharesCertificates(t *testing.T) {
	inside(t, func(t *testing.T) {
		p := newPebble(t, aMonth, nil)
		dir := t.TempDir()
		p.start(t, "--name", "127.0.0.1", "--listen", ":443", "--acme-dir", dir) // first, since the authority asks there
		alone := p.start(t, "--name", "localhost", "--listen", ":4433", "--acme-dir", dir)
		p.trusted(t, "443", "127.0.0.1")
		p.trusted(t, "4433", "localhost")
		third := p.start(t, "--name", "127.0.0.1", "--name", "localhost", "--listen", ":4434", "--acme-dir", dir)
		for host, port := range map[string]string{"127.0.0.1": "443", "localhost": "4433"} {
			want, _ := p.shown(t, host, port)
			if got := p.trusted(t, "4434", host); !got.Equal(want) {
				t.Errorf("two gateways have two certificates for %s", host)
			}
		}
		if n := p.issued(); n != 2 {
			t.Errorf("%d certificates for two names", n)
		}
		for _, g := range []*program.Program{alone, third} {
			if got := ask(t, g, "/readyz"); got != "ready\n" {
				t.Errorf("/readyz = %q", got)
			}
		}
	})
}

// readyzSays waits until the operators' listener of g says each of want, and no status but 200.
func readyzSays(t *testing.T, g *program.Program, want ...string) {
	t.Helper()
	said := ""
	eventually(t, "an answer of /readyz", func() bool {
		said = ask(t, g, "/readyz")
		for _, w := range want {
			if !strings.Contains(said, w) {
				return false
			}
		}
		return true
	})
	if !strings.HasPrefix(said, "ready\n") {
		t.Errorf("/readyz = %q", said)
	}
}
