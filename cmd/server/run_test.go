package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// instance is the program, running in the test's process.
type instance struct {
	readyLine
	stop   context.CancelFunc // is SIGTERM
	status chan int           // takes the exit status
	out    *bufio.Reader      // what follows the ready line
}

// start runs the program until the test ends, and waits for its ready line. It is not on the
// public DHT.
func start(t *testing.T, args ...string) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	i := &instance{stop: cancel, status: make(chan int, 1), out: bufio.NewReader(read)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.status <- run(ctx, append([]string{"--listen", "127.0.0.1:0", "--dht", "off"}, args...), write, t.Output())
		write.Close()
	}()
	t.Cleanup(func() {
		cancel()
		read.Close()
		<-done
	})
	line, err := i.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no ready line: %v; status %d", err, <-i.status)
	}
	if strings.Contains(string(line), `\u0026`) {
		t.Errorf("the URL of the ready line cannot be pasted: %s", line)
	}
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(&i.readyLine); err != nil {
		t.Fatalf("ready line %s: %v", line, err)
	}
	return i
}

// dial opens a session that ends with the test.
func (i *instance) dial(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Dial(gwtest.Context(t), i.URL, client.Config{NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hash returns the hash of the current certificate.
func (i *instance) hash(t *testing.T) [32]byte {
	t.Helper()
	b, err := hex.DecodeString(i.Certificate.Hashes[0])
	if err != nil || len(b) != 32 {
		t.Fatalf("hashes = %q", i.Certificate.Hashes)
	}
	return [32]byte(b)
}

// wait returns the exit status.
func (i *instance) wait(t *testing.T) int {
	t.Helper()
	select {
	case s := <-i.status:
		return s
	case <-gwtest.Context(t).Done():
		t.Fatal("the program does not end")
		return -1
	}
}

// get asks for a URL. Certificates are not checked; the one that was shown is in the response.
func get(t *testing.T, address string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(gwtest.Context(t), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body(t, resp)
}

// echoes checks that what is written comes back, and the end after it.
func echoes(t *testing.T, conn *client.Conn) {
	t.Helper()
	const text = "through the gateway and back"
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got, err, text)
	}
}

func TestReadyLineTellsWhereEverythingIs(t *testing.T) {
	i := start(t, "--dev-http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	port := mustAddrPort(i.QUIC).Port()
	if want := "https://" + i.QUIC + "/swarm"; i.WebTransport != want || port == 0 {
		t.Errorf("webtransport = %s, want %s", i.WebTransport, want)
	}
	if i.Certificate.Kind != wtproto.CertificatePinned || len(i.Certificate.Hashes) != 2 {
		t.Errorf("certificate = %+v, want pinned with two hashes", i.Certificate)
	}
	if i.P2P == nil || len(i.P2P.Addrs) != 1 || !strings.HasSuffix(i.P2P.Addrs[0], "/p2p/"+i.P2P.ID) {
		t.Errorf("p2p = %+v, want an address that ends in its id", i.P2P)
	}
	if r, text := get(t, i.Admin+"/healthz"); text != "ok\n" {
		t.Errorf("healthz: %s, %q", r.Status, text)
	}
	if r, text := get(t, i.Admin+"/readyz"); text != "ready\n" {
		t.Errorf("readyz: %s, %q", r.Status, text)
	}
	if _, text := get(t, i.Admin+"/api/topics"); !strings.Contains(text, `"topics": []`) {
		t.Errorf("topics: %s", text)
	}
	if !strings.HasPrefix(i.Info, "http://127.0.0.1:") {
		t.Errorf("info = %s, want that of --dev-http", i.Info)
	}
	for _, address := range []string{i.Info, "https://" + i.QUIC + wtproto.InfoPath} {
		r, text := get(t, address)
		var info wtproto.Info
		if err := json.Unmarshal([]byte(text), &info); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if info.QUIC != i.QUIC || info.WebTransport != i.WebTransport || !slices.Equal(info.Certificate.Hashes, i.Certificate.Hashes) {
			t.Errorf("%s = %+v, not what the ready line says", address, info)
		}
		if r.TLS != nil && sha256.Sum256(r.TLS.PeerCertificates[0].Raw) != i.hash(t) {
			t.Errorf("%s: another certificate than that of the ready line", address)
		}
	}
	i.dial(t)
	i.stop()
	if status := i.wait(t); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if rest, err := io.ReadAll(i.out); len(rest) > 0 || err != nil {
		t.Errorf("after the ready line: %q, %v; want nothing", rest, err)
	}
}

func TestReadyLineWithoutExtras(t *testing.T) {
	i := start(t)
	if i.P2P != nil || i.Admin != "" || i.Info != "https://"+i.QUIC+wtproto.InfoPath {
		t.Errorf("p2p %v, admin %q, info %q; want none, none, the public one", i.P2P, i.Admin, i.Info)
	}
}

func TestWildcardIsToldAsLoopback(t *testing.T) {
	i := start(t, "--listen", ":0")
	if !strings.HasPrefix(i.QUIC, "127.0.0.1:") {
		t.Errorf("quic = %s, want 127.0.0.1", i.QUIC)
	}
	i.dial(t)
}

func TestNameIsWhatClientsAreTold(t *testing.T) {
	i := start(t, "--name", "gateway.example", "--dev-http", "127.0.0.1:0")
	if !strings.HasPrefix(i.QUIC, "gateway.example:") {
		t.Errorf("quic = %s, want gateway.example", i.QUIC)
	}
	u, err := url.Parse(i.Info)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(i.QUIC)
	r, text := get(t, "https://127.0.0.1:"+port+wtproto.InfoPath, "Origin", "https://gateway.example")
	if cors := r.Header.Get("Access-Control-Allow-Origin"); cors != "https://gateway.example" {
		t.Errorf("Access-Control-Allow-Origin = %q", cors)
	}
	if !strings.Contains(text, i.WebTransport) {
		t.Errorf("info = %s, want %s in it", text, i.WebTransport)
	}
	if err := r.TLS.PeerCertificates[0].VerifyHostname("gateway.example"); err != nil {
		t.Error(err)
	}
	if r, _ := get(t, i.Info, "Origin", "http://localhost:"+u.Port()); r.Header.Get("Access-Control-Allow-Origin") == "" || r.StatusCode != http.StatusOK {
		t.Errorf("the page of --dev-http gets %s", r.Status)
	}
	if r, text := get(t, i.Info, "Origin", "https://other.example"); r.StatusCode != http.StatusForbidden || strings.Contains(text, i.WebTransport) {
		t.Errorf("any page gets %s, %s", r.Status, text)
	}
}

func TestStaticPeersAreReached(t *testing.T) {
	echo := gwtest.Listen(t, gwtest.Echo)
	i := start(t, "--static", "there=tcp://"+echo.Addr().String(), "--admin", "127.0.0.1:0")
	top := gwtest.Join(t, i.dial(t), wtproto.TopicFromName("there"), client.JoinOptions{})
	conn := gwtest.Accept(t, top)
	if conn.Peer().Network != "static" || conn.Peer().Address != "" {
		t.Errorf("peer = %+v, want static without an address", conn.Peer())
	}
	echoes(t, conn)
	if _, text := get(t, i.Admin+"/api/topics"); !strings.Contains(text, echo.Addr().String()) {
		t.Errorf("topics do not show the peer's address: %s", text)
	}
}

func TestAddressesAreShownWhereWanted(t *testing.T) {
	echo := gwtest.Listen(t, gwtest.Echo)
	i := start(t, "--static", "there=tcp://"+echo.Addr().String(), "--show-addresses")
	conn := gwtest.Accept(t, gwtest.Join(t, i.dial(t), wtproto.TopicFromName("there"), client.JoinOptions{}))
	if want := "tcp://" + echo.Addr().String(); conn.Peer().Address != want {
		t.Errorf("address = %q, want %q", conn.Peer().Address, want)
	}
}

// The gateway's own listeners are never peers, not even by configuration.
func TestGatewayIsNoPeerOfItself(t *testing.T) {
	admin := freeport.Address(t)
	i := start(t, "--static", "self=tcp://"+admin, "--admin", admin, "--allow-private")
	top := gwtest.Join(t, i.dial(t), wtproto.TopicFromName("self"), client.JoinOptions{})
	gwtest.Eventually(t, "the refusal in STATUS", func() bool {
		s := top.Status()
		return len(s.Networks) == 1 && s.Networks[0].Refused == 1 && s.Networks[0].LastCode == wtproto.CodeForbidden
	})
}

func TestNativePeerIsFoundOnThePrivateDHT(t *testing.T) {
	for _, network := range []string{"dht", "static"} {
		t.Run(network, func(t *testing.T) {
			var i *instance
			if network == "dht" {
				i = start(t, "--dht", "private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private")
			}
			var seeds []string
			if i != nil {
				seeds = i.P2P.Addrs
			}
			peer, err := startDemoPeer(seeds, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { peer.close() })
			if i == nil {
				i = start(t, "--static", demoTopic+"="+peer.host.Addrs()[0], "--allow-private")
			}
			top := gwtest.Join(t, i.dial(t), wtproto.TopicFromName(demoTopic), client.JoinOptions{})
			conn := gwtest.Accept(t, top)
			if conn.Peer().Network != network || string(conn.Peer().ID) != string(peer.id) {
				t.Errorf("peer = %+v, want %x on %s", conn.Peer(), peer.id, network)
			}
			echoes(t, conn)
		})
	}
}

// The libp2p hosts of a LAN meet without a DHT, so there is one, and it listens.
func TestLANNeedsNoDHT(t *testing.T) {
	i := start(t, "--lan", "--lan-interface", "lo", "--allow-private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	if i.P2P == nil || len(i.P2P.Addrs) != 1 {
		t.Fatalf("p2p = %+v, want a host that listens", i.P2P)
	}
	top := gwtest.Join(t, i.dial(t), wtproto.TopicFromName("there"), client.JoinOptions{})
	gwtest.Eventually(t, "the networks in STATUS", func() bool {
		s := top.Status()
		return len(s.Networks) == 2 && s.Networks[0].Name == "dht" && s.Networks[1].Name == "lan" && s.Networks[1].State == wtproto.NetworkSearching
	})
}

func TestDemoDoesWithoutALANWhereThereIsNone(t *testing.T) {
	for args, want := range map[string]bool{
		"--demo --lan-interface nosuch0":          false,
		"--demo --lan-interface nosuch0 --lan":    true,
		"--dht off --lan-interface nosuch0 --lan": true,
		"--demo --no-lan":                         false,
		"--demo --lan-interface lo":               true,
	} {
		o := parsed(t, strings.Fields(args)...)
		policy, err := discovery.NewPolicy(o.policy())
		if err != nil {
			t.Fatal(err)
		}
		if got := (&gateway{policy: policy}).wantsLAN(o); got != want {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}

func TestClientsMeetUnlessTheyAreIsolated(t *testing.T) {
	topic := wtproto.TopicFromName("meet")
	i := start(t)
	a := gwtest.Join(t, i.dial(t), topic, client.JoinOptions{})
	gwtest.Join(t, i.dial(t), topic, client.JoinOptions{})
	if conn := gwtest.Accept(t, a); conn.Peer().Network != wtproto.NetworkClient {
		t.Errorf("network = %q, want %q", conn.Peer().Network, wtproto.NetworkClient)
	}
	i = start(t, "--no-connect-clients")
	a = gwtest.Join(t, i.dial(t), topic, client.JoinOptions{})
	gwtest.Join(t, i.dial(t), topic, client.JoinOptions{})
	gwtest.Eventually(t, "STATUS", func() bool {
		s := a.Status()
		return slices.ContainsFunc(s.Networks, func(n client.NetworkStatus) bool {
			return n.Name == wtproto.NetworkClient && n.Reason != ""
		})
	})
	if s := a.Status(); s.Known != 0 || s.Connected != 0 {
		t.Errorf("%d known and %d connected, want none", s.Known, s.Connected)
	}
}

func TestLimitsReachTheServer(t *testing.T) {
	i := start(t, "--max-topics", "1", "--max-circuits", "-1", "--max-sessions-per-principal", "1", "--dev-http", "127.0.0.1:0")
	c := i.dial(t)
	if w := c.Session(); w.MaxTopics != 1 || w.MaxCircuits != 0 {
		t.Errorf("WELCOME says %d topics, %d circuits; want 1 and no limit", w.MaxTopics, w.MaxCircuits)
	}
	gwtest.Join(t, c, wtproto.TopicFromName("a"), client.JoinOptions{})
	_, err := c.Join(gwtest.Context(t), wtproto.TopicFromName("b"), client.JoinOptions{})
	if code, _ := gwtest.Code(err); code != wtproto.CodeTopicLimit {
		t.Errorf("second topic: %v, want TOPIC_LIMIT", err)
	}
	_, err = client.Dial(gwtest.Context(t), i.QUIC, client.Config{CertHashes: [][32]byte{i.hash(t)}})
	if code, _ := gwtest.Code(err); code != wtproto.CodeRateLimited && code != wtproto.CodeBusy {
		t.Errorf("second session: %v, want it refused", err)
	}
}

// A supervisor sends SIGTERM first: sessions get GOAWAY, circuits go on, and the program ends when
// they do.
func TestDrainLetsCircuitsEnd(t *testing.T) {
	echo := gwtest.Listen(t, gwtest.Echo)
	i := start(t, "--static", "there=tcp://"+echo.Addr().String(), "--admin", "127.0.0.1:0", "--drain", "10m")
	c := i.dial(t)
	conn := gwtest.Accept(t, gwtest.Join(t, c, wtproto.TopicFromName("there"), client.JoinOptions{}))
	i.stop()
	if g := gwtest.GoingAway(t, c); g.Code != wtproto.CodeShutdown || g.RetryAfter <= 0 {
		t.Errorf("GOAWAY = %+v, want SHUTDOWN and a time to come back", g)
	}
	if r, _ := get(t, i.Admin+"/readyz"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz while draining: %s, want 503", r.Status)
	}
	if r, _ := get(t, i.Admin+"/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("healthz while draining: %s, want 200", r.Status)
	}
	echoes(t, conn)
	if status := i.wait(t); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	<-c.Done()
	if code, _ := gwtest.Code(c.Err()); code != wtproto.CodeShutdown {
		t.Errorf("the session ended with %v, want SHUTDOWN", c.Err())
	}
}

func TestDrainEnds(t *testing.T) {
	echo := gwtest.Listen(t, gwtest.Echo)
	i := start(t, "--static", "there=tcp://"+echo.Addr().String(), "--drain", "1ms")
	c := i.dial(t)
	conn := gwtest.Accept(t, gwtest.Join(t, c, wtproto.TopicFromName("there"), client.JoinOptions{}))
	i.stop()
	if status := i.wait(t); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("the circuit ended regularly, want it cut off")
	}
}

func TestWhatCannotBeOpenedIsReported(t *testing.T) {
	taken := gwtest.Listen(t, func(*net.TCPConn) {})
	var errs strings.Builder
	status := run(t.Context(), []string{
		"--listen", taken.Addr().String(), "--admin", taken.Addr().String(), "--dht", "off",
		"--cert", "/does/not/exist", "--key", "/does/not/exist", "--p2p-listen", "/ip4/127.0.0.1/tcp/" + strings.Split(taken.Addr().String(), ":")[1],
	}, io.Discard, &errs)
	if status != statusFailed {
		t.Errorf("status %d, want %d", status, statusFailed)
	}
	for _, want := range []string{"--listen: ", "--admin: ", "/does/not/exist", "p2p: listen on "} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, errs.String())
		}
	}
	errs.Reset()
	if status := run(t.Context(), []string{"--listen", "x", "--drain", "y"}, io.Discard, &errs); status != statusUsage || strings.Count(errs.String(), "\n") != 2 {
		t.Errorf("status %d, %q; want %d and two lines", status, errs.String(), statusUsage)
	}
}

// full is a standard output that nobody reads.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestReadyLineThatCannotBePrinted(t *testing.T) {
	var errs strings.Builder
	status := run(t.Context(), []string{"--listen", "127.0.0.1:0", "--dht", "off"}, full{}, &errs)
	if status != statusFailed || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("status %d, %q", status, errs.String())
	}
}

// A part that fails ends the program, and its error is the reason.
func TestFailingSiteEndsTheProgram(t *testing.T) {
	o := parsed(t, "--listen", "127.0.0.1:0", "--dht", "off", "--admin", "127.0.0.1:0")
	g, err := open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	g.sockets.admin.Close()
	if err := g.serve(t.Context(), o, io.Discard); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "admin: ") {
		t.Errorf("serve = %v, want that of the admin site", err)
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
}
