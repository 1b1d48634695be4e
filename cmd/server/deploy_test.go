package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alertRules are what Prometheus reads.
type alertRules struct {
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

// readRules returns the rules of deploy/.
func readRules(t *testing.T) (rules alertRules) {
	t.Helper()
	b, err := os.ReadFile("../../deploy/swarmgate.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}

// grafanaPanel is a part of a dashboard, and where it stands.
type grafanaPanel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ H, W, X, Y int }
	Targets    []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
}

// readDashboard returns the panels of the dashboard of deploy/.
func readDashboard(t *testing.T) []grafanaPanel {
	t.Helper()
	b, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Query any }
		}
		Panels []grafanaPanel
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 || len(d.Panels) == 0 {
		t.Errorf("dashboard %q %q of schema %d with %d panels", d.Title, d.UID, d.SchemaVersion, len(d.Panels))
	}
	if v := d.Templating.List; len(v) == 0 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("variables %+v, want the data source first", v)
	}
	return d.Panels
}

// exposed returns the names of all that Prometheus may read from a gateway.
func exposed(t *testing.T) []string {
	t.Helper()
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
	names := []string{"up", "swarmgate_circuits", "swarmgate_circuit_bytes_total"} // the last two come with the first circuit
	for _, f := range families {
		names = append(names, f.GetName())
		if f.GetType().String() == "HISTOGRAM" {
			names = append(names, f.GetName()+"_bucket", f.GetName()+"_count", f.GetName()+"_sum")
		}
	}
	return names
}

var metricName = regexp.MustCompile(`\b(swarmgate|go|process)_[a-z0-9_]+|\bup\b`)

// A panel or an alert about a metric that is not there any more shows nothing, and nobody notices.
func TestDashboardAndAlertsAskForWhatThereIs(t *testing.T) {
	names := exposed(t)
	check := func(where, expr string) {
		t.Helper()
		asked := metricName.FindAllString(expr, -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for no metric: %s", where, expr)
		}
		for _, name := range asked {
			if !slices.Contains(names, name) {
				t.Errorf("%s asks for %s, which is not exposed", where, name)
			}
		}
	}
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			check("alert "+r.Alert, r.Expr)
		}
	}
}

// Every panel of the dashboard has its own place, asks the chosen data source, and has something
// to show.
func TestDashboard(t *testing.T) {
	panels := readDashboard(t)
	for i, p := range panels {
		if pos := p.GridPos; pos.W < 1 || pos.H < 1 || pos.X+pos.W > 24 {
			t.Errorf("panel %q is at %+v", p.Title, pos)
		}
		for _, o := range panels[:i] {
			a, b := p.GridPos, o.GridPos
			if p.ID == o.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q have one id or one place", p.Title, o.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has %d queries of %q", p.Title, len(p.Targets), p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if target.RefID == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: query %+v", p.Title, target)
			}
		}
	}
}

// What the alerts and the panels ask is PromQL, says Prometheus itself.
func TestPromtool(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "panels.yml")
	var b strings.Builder
	b.WriteString("groups:\n- name: panels\n  rules:\n")
	fill := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			fmt.Fprintf(&b, "  - record: panel:%d_%s\n    expr: %q\n", p.ID, target.RefID, fill.Replace(target.Expr))
		}
	}
	if err := os.WriteFile(rules, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../../deploy/swarmgate.rules.yml", rules} {
		if out, err := exec.Command("promtool", "check", "rules", "--lint-fatal", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v (test/deps.sh installs promtool): %s", file, err, out)
		}
	}
}

// An alert said of a seed with which only clients of the DHT were connected that it is not in the
// DHT, though all found each other by it.
func TestAlertNotInDHT(t *testing.T) {
	rules, err := filepath.Abs("../../deploy/swarmgate.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                   string
		hosts, serving, missed int
		fires                  bool
	}{
		{"a member", 3, 0, 0, false},
		{"a seed that others call on", 0, 1, 0, false},
		{"a seed that nobody has called on", 0, 0, 0, true},
		{"a server that is cut off", 0, 1, 1, true},
		{"a member that is cut off", 0, 0, 2, true},
	} {
		var b strings.Builder
		fmt.Fprintf(&b, "rule_files: [%q]\ntests:\n- interval: 1m\n  input_series:\n", rules)
		for name, v := range map[string]int{"hosts": tt.hosts, "serving": tt.serving, "seeds_missing": tt.missed} {
			fmt.Fprintf(&b, "  - {series: 'swarmgate_dht_%s{instance=\"a\"}', values: '%dx20'}\n", name, v)
		}
		b.WriteString("  alert_rule_test:\n  - eval_time: 20m\n    alertname: SwarmgateNotInDHT\n")
		if tt.fires {
			b.WriteString("    exp_alerts: [{exp_labels: {instance: a, severity: warning}, exp_annotations: {summary: a knows no other host of the DHT.}}]\n")
		}
		file := filepath.Join(t.TempDir(), "test.yml")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
	}
}

// The alert came three days before the end of each certificate, so every gateway with a pinned one
// gave it for two days of six, and one with an authority's for six days would have always.
func TestAlertCertificateExpires(t *testing.T) {
	rules, err := filepath.Abs("../../deploy/swarmgate.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	const hour, day = 3600, 24 * 3600
	for _, tt := range []struct {
		name       string
		left, life int // seconds; two hours after the beginning
		expires    string
	}{
		{"a pinned one before the next takes over", 25 * hour, 13 * day, ""},
		{"a pinned one that stays", 19 * hour, 13 * day, "19h 0m 0s"},
		{"of six days, when it is renewed", 2 * day, 6 * day, ""},
		{"of six days, not renewed", 8 * hour, 6 * day, "8h 0m 0s"},
		{"of 90 days, when it is renewed", 30 * day, 90 * day, ""},
		{"of 90 days, not renewed", 5 * day, 90 * day, "5d 0h 0m 0s"},
	} {
		now := 2 * hour
		var b strings.Builder
		fmt.Fprintf(&b, "rule_files: [%q]\ntests:\n- interval: 1m\n  input_series:\n", rules)
		for name, v := range map[string]int{"expiry": now + tt.left, "not_before": now + tt.left - tt.life} {
			fmt.Fprintf(&b, "  - {series: 'swarmgate_certificate_%s_timestamp_seconds{instance=\"a\"}', values: '%dx130'}\n", name, v)
		}
		b.WriteString("  alert_rule_test:\n  - eval_time: 2h\n    alertname: SwarmgateCertificateExpires\n")
		if tt.expires != "" {
			fmt.Fprintf(&b, "    exp_alerts: [{exp_labels: {instance: a, severity: critical}, exp_annotations: {summary: The certificate of a expires in %s.}}]\n", tt.expires)
		}
		file := filepath.Join(t.TempDir(), "test.yml")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
	}
}

// An operator whom an alert wakes up reads what to do.
func TestEachAlertSaysWhatToDo(t *testing.T) {
	b, err := os.ReadFile("../../docs/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, alerts, _ := strings.Cut(string(b), "\n## Alerts\n")
	alerts, _, _ = strings.Cut(alerts, "\n## ")
	var want []string
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			want = append(want, r.Alert)
		}
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| .+ \\| .+ \\|$").FindAllStringSubmatch(alerts, -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("OPERATING.md says what to do on %q, want %q", got, want)
	}
}
