package main

import (
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/server"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// everything makes m count at least once what it can count.
func everything(m *metrics) {
	o, n := m.observer(), m.networkObserver()
	for _, transport := range []string{"quic", "webtransport", "websocket"} {
		i := server.SessionInfo{ID: wtproto.SessionID{1}, Transport: transport, Agent: "an agent"}
		o.SessionStarted(i)
		o.SessionEnded(i, wtproto.CodeIdle)
	}
	o.SessionRefused(wtproto.CodeBusy)
	o.Authorized(time.Second, wtproto.CodeUnauthorized)
	o.Joined()
	o.JoinRefused(wtproto.CodeTopicLimit)
	o.ConnectAnswered(wtproto.CodeDeclined)
	o.Left(wtproto.CodeNone)
	o.Refused(server.LimitFrames, wtproto.CodeRateLimited)
	o.Dialed("dht", time.Second, wtproto.CodeNone)
	o.Dialed("dht", time.Second, wtproto.CodePeerUnreachable)
	o.CircuitOpened("dht")
	o.CircuitEnded(server.CircuitEnd{Network: "dht", Code: wtproto.CodeApplication + 7, ToClient: 1, ToPeer: 2, Lasted: time.Second})
	n.LookedUp("dht", 3, time.Second, nil)
	n.LookedUp("lan", 0, time.Second, errors.New("failed"))
	n.Announced("dht", time.Second, nil)
	n.Turned("dht", "lookup", time.Second)
}

// scrape returns what /metrics of i says.
func (i *instance) scrape(t *testing.T) string {
	t.Helper()
	r, text := get(t, i.Admin+metricsPath)
	if r.StatusCode != 200 {
		t.Fatalf("/metrics: %s, %s", r.Status, text)
	}
	return text
}

// labelValues are all that a label may say.
var labelValues = map[string]*regexp.Regexp{
	"transport": regexp.MustCompile(`^(quic|webtransport|websocket)$`),
	"network":   regexp.MustCompile(`^(client|dht|lan|static)$`),
	"code":      regexp.MustCompile(`^[A-Z_]+$`),
	"limit":     regexp.MustCompile(`^[a-z_]+$`),
	"direction": regexp.MustCompile(`^(to_client|to_peer)$`),
	"state":     regexp.MustCompile(`^(joined|grace)$`),
	"work":      regexp.MustCompile(`^(lookup|announcement|dial)$`),
	"result":    regexp.MustCompile(`^(ok|error)$`),
	"le":        regexp.MustCompile(`^([0-9.]+|\+Inf)$`),
	"version":   regexp.MustCompile(`^(v[0-9].*|\(devel\))$`),
	"goversion": regexp.MustCompile(`^go[0-9].*$`),
}

// What strangers send, and who they are, is in no label.
func TestMetricsTellOfNobody(t *testing.T) {
	const secret = "secret-of-somebody"
	echo := gwtest.Listen(t, gwtest.Echo)
	dead := freeport.Address(t)
	i := start(t, "--static", "there=tcp://"+echo.Addr().String(), "--static", "there=tcp://"+dead, "--admin", "127.0.0.1:0",
		"--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "private", "--max-topics", "1")
	topic := wtproto.TopicFromName("there")
	dial := func() *client.Client {
		c, err := client.Dial(gwtest.Context(t), i.QUIC, client.Config{
			CertHashes: [][32]byte{i.hash(t)}, NoReconnect: true, Agent: secret, Token: []byte(secret),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c, other := dial(), dial()
	defer c.Close()
	there := gwtest.Join(t, c, topic, client.JoinOptions{})
	first := gwtest.Accept(t, there)
	echoes(t, first)
	if further, err := there.Open(gwtest.Context(t), first.Peer()); err != nil {
		t.Error(err)
	} else {
		echoes(t, further)
	}
	unknown := first.Peer()
	unknown.ID = make([]byte, len(unknown.ID))
	if _, err := there.Open(gwtest.Context(t), unknown); err == nil {
		t.Error("there is a circuit with an unknown peer")
	}
	gwtest.Join(t, other, topic, client.JoinOptions{})
	if _, err := c.Join(gwtest.Context(t), wtproto.TopicFromName("one too many"), client.JoinOptions{}); err == nil {
		t.Error("a second topic was joined")
	}
	other.Close()
	var text string
	gwtest.Eventually(t, "what happened in the metrics", func() bool {
		text = i.scrape(t)
		for _, want := range []string{
			"swarmgate_ready 1\n",
			`swarmgate_sessions{transport="quic"} 1` + "\n",
			`swarmgate_sessions_started_total{transport="quic"} 2` + "\n",
			`swarmgate_sessions_ended_total{code="NONE",transport="quic"} 1` + "\n",
			`swarmgate_joins_total{code="NONE"} 2` + "\n",
			`swarmgate_joins_total{code="TOPIC_LIMIT"} 1` + "\n",
			`swarmgate_connects_total{code="NONE"} 1` + "\n",
			`swarmgate_connects_total{code="PEER_UNREACHABLE"} 1` + "\n",
			`swarmgate_refusals_total{code="TOPIC_LIMIT",limit="topics_session"} 1` + "\n",
			`swarmgate_leaves_total{code="NONE"} 1` + "\n",
			`swarmgate_circuit_bytes_total{direction="to_client",network="static"} `,
			`swarmgate_dials_total{code="PEER_UNREACHABLE",network="static"} `,
			`swarmgate_certificate_expiry_timestamp_seconds `,
			`swarmgate_certificate_not_before_timestamp_seconds `,
			`swarmgate_acme_failing 0`,
			`swarmgate_acme_orders_total{result="ok"} 0`,
			`swarmgate_dht_hosts 0` + "\n",
			"go_goroutines ",
			"process_resident_memory_bytes ",
		} {
			if !strings.Contains(text, want) {
				t.Logf("no %q yet", want)
				return false
			}
		}
		return true
	})
	digest := topic.Digest()
	for what, secret := range map[string]string{
		"a token or an agent": secret, "a topic": topic.String()[:8], "a digest": hex.EncodeToString(digest[:4]),
		"an address": "127.0.0.1", "a port": echo.Addr().String()[len("127.0.0.1:"):], "a peer id": i.P2P.ID,
		"the name of a topic": "there",
	} {
		for line := range strings.Lines(text) {
			if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(line, "#") && strings.Contains(name, secret) {
				t.Errorf("%s is in %s", what, line)
			}
		}
	}
	label := regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	series := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, metricPrefix) {
			continue
		}
		series++
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if known := labelValues[m[1]]; known == nil || !known.MatchString(m[2]) {
				t.Errorf("%s=%q is none of the values of labels: %s", m[1], m[2], line)
			}
		}
	}
	if series > 1000 {
		t.Errorf("%d series", series)
	}
}

// The names, units and texts are as Prometheus wants them.
func TestMetricsAreClean(t *testing.T) {
	o := parsed(t, "--listen", "127.0.0.1:0", "--dht", "off", "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	g, err := open(o, newLogger(o, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	everything(g.metrics)
	families, err := g.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, metricPrefix) && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s does not begin with %s", name, metricPrefix)
		}
		if help := f.GetHelp(); strings.HasPrefix(name, metricPrefix) && !strings.HasSuffix(help, ".") {
			t.Errorf("%s: help %q", name, help)
		}
	}
}

// Each limit has a series before it is met, so that Prometheus sees the first refusal as an
// increase.
func TestEachLimitIsAMetric(t *testing.T) {
	m := newMetrics()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if f.GetName() == metricPrefix+"refusals_total" {
			for _, s := range f.GetMetric() {
				got = append(got, s.GetLabel()[1].GetValue()+" "+s.GetLabel()[0].GetValue())
			}
		}
	}
	var want []string
	for _, l := range server.Limits() {
		want = append(want, string(l.Name)+" "+l.Code.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("refusals of %q, want %q", got, want)
	}
}

// Peers and clients may say any code.
func TestCodeLabel(t *testing.T) {
	for c, want := range map[wtproto.Code]string{
		wtproto.CodeNone: "NONE", wtproto.CodeReplaced: "REPLACED", wtproto.CodeApplication - 1: "UNKNOWN",
		wtproto.CodeApplication: "APPLICATION", 1<<32 - 1: "APPLICATION",
	} {
		if got := codeLabel(c); got != want {
			t.Errorf("codeLabel(%v) = %q, want %q", c, got, want)
		}
	}
}

// What is counted many times a second takes no memory.
func TestCountingTakesNoMemory(t *testing.T) {
	m := newMetrics()
	everything(m)
	o := m.observer()
	for what, count := range map[string]func(){
		"Refused":         func() { o.Refused(server.LimitFrames, wtproto.CodeRateLimited) },
		"Joined":          o.Joined,
		"JoinRefused":     func() { o.JoinRefused(wtproto.CodeTopicLimit) },
		"ConnectAnswered": func() { o.ConnectAnswered(wtproto.CodeDeclined) },
		"Left":            func() { o.Left(wtproto.CodeNone) },
		"Dialed":          func() { o.Dialed("dht", time.Second, wtproto.CodeNone) },
		"CircuitEnded":    func() { o.CircuitEnded(server.CircuitEnd{Network: "dht", Code: wtproto.CodeApplication}) },
	} {
		if n := testing.AllocsPerRun(100, count); n != 0 {
			t.Errorf("%s takes %v allocations", what, n)
		}
	}
}
