package program

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Metrics are the samples of /metrics by their series, as in
// `swarmgate_sessions{transport="quic"}`. A series that is not there is 0.
type Metrics map[string]float64

// Metrics returns what the program says at /metrics. It must run with --admin.
func (p *Program) Metrics(t *testing.T) Metrics {
	t.Helper()
	r, err := http.Get(p.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v", r.Status, err)
	}
	m := make(Metrics)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("/metrics has the line %q: %v", line, err)
		}
		m[line[:at]] = v
	}
	return m
}
