package main

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestRestartedGatewayIsTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	args := []string{"--state-dir", dir, "--p2p-listen", "/ip4/127.0.0.1/tcp/0"}
	first := start(t, args...)
	var errs strings.Builder
	if status := run(t.Context(), append([]string{"--listen", "127.0.0.1:0", "--dht", "off"}, args...), io.Discard, &errs); status != statusFailed || !strings.Contains(errs.String(), "in use") {
		t.Errorf("a second gateway with the same state: status %d, %s", status, errs.String())
	}
	first.stop()
	if status := first.wait(t); status != 0 {
		t.Fatalf("status %d", status)
	}
	second := start(t, args...)
	if !slices.Equal(first.Certificate.Hashes, second.Certificate.Hashes) || first.P2P.ID != second.P2P.ID {
		t.Errorf("hashes %q, host %s; before the restart %q, %s", second.Certificate.Hashes, second.P2P.ID, first.Certificate.Hashes, first.P2P.ID)
	}
	fresh := start(t, "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	if fresh.Certificate.Hashes[0] == second.Certificate.Hashes[0] || fresh.P2P.ID == second.P2P.ID {
		t.Error("a gateway without a state directory has the keys of another one")
	}
}

// A killed gateway says nothing to its clients. The next one has the same key for stateless
// resets, so a client learns with its next packet that its session is gone, not after a minute of
// silence.
func TestRestartEndsOldSessions(t *testing.T) {
	args := []string{"--listen", freeport.Address(t), "--dht", "off", "--state-dir", filepath.Join(t.TempDir(), "state")}
	o := parsed(t, args...)
	g, err := open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.serve(t.Context(), o, io.Discard) }()
	<-g.server.Started()
	c, err := client.Dial(gwtest.Context(t), g.url().String(), client.Config{NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g.sockets.quic.Close() // nothing more is sent
	if err := <-served; err == nil {
		t.Error("serve = nil after its socket was closed")
	}
	g.close()
	start(t, args...)
	_, err = c.Join(gwtest.Context(t), wtproto.TopicFromName("a"), client.JoinOptions{})
	if code, _ := gwtest.Code(err); code != wtproto.CodePeerGone {
		t.Errorf("Join on the old session = %v, want PEER_GONE", err)
	}
}

func TestCertificateFiles(t *testing.T) {
	cert, key, pool := authority(t)
	i := start(t, "--cert", cert, "--key", key)
	if i.Certificate.Kind != wtproto.CertificateCA || len(i.Certificate.Hashes) != 0 {
		t.Errorf("certificate = %+v, want ca without hashes", i.Certificate)
	}
	c, err := client.Dial(gwtest.Context(t), i.QUIC, client.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// authority returns the files of a certificate for 127.0.0.1 and of its key, and a pool that
// trusts it.
func authority(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	c := gwtest.Certificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return certFile, keyFile, pool
}
