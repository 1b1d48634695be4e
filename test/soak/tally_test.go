//go:build !race

package soak

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// tally is what /metrics should say: what the generator has done, and what its clients were told.
// Any number of goroutines may use it.
type tally struct {
	mu    sync.Mutex
	least map[string]float64 // guarded by mu; by series
	most  map[string]float64 // guarded by mu; less is a fault of the generator
}

func newTally() *tally {
	return &tally{least: make(map[string]float64), most: make(map[string]float64)}
}

// one counts one more of a series.
func (y *tally) one(name string, labels ...string) { y.add(1, 1, name, labels...) }

// add counts from least to most more.
func (y *tally) add(least, most int64, name string, labels ...string) {
	s := series(name, labels...)
	y.mu.Lock()
	defer y.mu.Unlock()
	y.least[s] += float64(least)
	y.most[s] += float64(most)
}

// set says what a gauge is.
func (y *tally) set(v float64, name string, labels ...string) {
	s := series(name, labels...)
	y.mu.Lock()
	defer y.mu.Unlock()
	y.least[s], y.most[s] = v, v
}

// series returns a series as /metrics writes it: labels are names and values in turn.
func series(name string, labels ...string) string {
	var all []string
	for i := 0; i < len(labels); i += 2 {
		all = append(all, labels[i]+`="`+labels[i+1]+`"`)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return prefix + name
	}
	return prefix + name + "{" + strings.Join(all, ",") + "}"
}

// prefix is how the gateway's own metrics begin.
const prefix = "swarmgate_"

// how says what a metric is compared with.
type how int

const (
	exact   how = iota // each series with the tally
	counted            // a histogram: the number of its values with the tally; the rest is times
	unknown            // nothing, for a reason
)

// table has every metric of a gateway.
var table = map[string]struct {
	how how
	why string // it is unknown
}{
	"ready":          {},
	"build_info":     {unknown, "it says what the program was built from"},
	"sessions":       {},
	"visits":         {},
	"topics":         {},
	"circuits":       {},
	"circuit_places": {},

	"circuit_bytes_total": {},
	"dials_running":       {},
	"dials_waiting":       {},
	"principals":          {},
	"principals_at_limit": {},
	"outbox_bytes":        {},
	"memory_in_use_bytes": {unknown, "it is compared with what it was before"},
	"memory_full_bytes":   {},
	"memory_over_bytes":   {},

	"sessions_started_total": {},
	"sessions_ended_total":   {},
	"sessions_refused_total": {},
	"joins_total":            {},
	"connects_total":         {},
	"leaves_total":           {},
	"refusals_total":         {},
	"dials_total":            {},
	"circuits_opened_total":  {},
	"circuits_ended_total":   {},

	"dht_seeds_missing": {},
	"turns_waiting":     {},
	"dht_serving":       {},
	"dht_hosts":         {unknown, "the DHT decides when it forgets a host that has gone"},

	"lookups_total":                 {unknown, "the DHT's planner decides when to look for more"},
	"lookup_answers_total":          {unknown, "hosts that have gone are answers until their records expire"},
	"announcements_total":           {unknown, "one walk announces all topics that the same hosts keep"},
	"lookup_duration_seconds":       {unknown, "as many as look-ups"},
	"announcement_duration_seconds": {unknown, "as many as announcements"},
	"turn_wait_seconds":             {unknown, "as many as look-ups, announcements and dials of hosts"},

	"authorization_duration_seconds": {how: counted},
	"dial_duration_seconds":          {how: counted},
	"circuit_duration_seconds":       {how: counted},

	"certificate_expiry_timestamp_seconds":     {},
	"certificate_not_before_timestamp_seconds": {},

	"acme_failing":      {},
	"acme_orders_total": {},
}

// others are the metrics of Go and of the process, by how their names begin.
var others = map[string]string{
	"go_":       "what Go's runtime needs: goroutines and memory are compared with what they were before",
	"process_":  "processor time, and what the kernel counts: file descriptors are compared with what they were before",
	"promhttp_": "scrapes",
}

// metricOf returns the name in the table of a series, and what part of a histogram it is, or "".
func metricOf(s string) (name, part string) {
	name, _, _ = strings.Cut(strings.TrimPrefix(s, prefix), "{")
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		if of, ok := strings.CutSuffix(name, part); ok {
			if _, known := table[of]; known {
				return of, part
			}
		}
	}
	return name, ""
}

// compare returns each difference between what /metrics says and the tally.
func (y *tally) compare(got program.Metrics) (wrong []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	names := make(map[string]bool)
	all := maps.Clone(got)
	for s := range y.most {
		if _, ok := all[s]; !ok {
			all[s] = 0
		}
	}
	for _, s := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(s, prefix) {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(others)), func(p string) bool { return strings.HasPrefix(s, p) }) {
				wrong = append(wrong, s+" is not in the table")
			}
			continue
		}
		name, part := metricOf(s)
		row, known := table[name]
		names[name] = true
		switch {
		case !known:
			wrong = append(wrong, s+" is not in the table")
			continue
		case row.how == unknown, row.how == counted && part != "_count":
			continue
		}
		if v, least, most := all[s], y.least[s], y.most[s]; v < least || v > most {
			wrong = append(wrong, s+" is "+number(v)+", want "+between(least, most))
		}
	}
	for name := range table {
		if !names[name] {
			wrong = append(wrong, name+" is in the table, and not in /metrics")
		}
	}
	return wrong
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func between(least, most float64) string {
	if least == most {
		return number(least)
	}
	return number(least) + " to " + number(most)
}

// What is in the table is compared, what is not is found, and a series that is missing is 0.
func TestTallyCompares(t *testing.T) {
	good := program.Metrics{"go_goroutines": 8}
	y := newTally()
	for name, row := range table {
		if (row.why != "") != (row.how == unknown) {
			t.Errorf("%s: %+v, want a reason if it is unknown and none else", name, row)
		}
		if row.how == counted {
			good[prefix+name+"_count"], good[prefix+name+"_sum"] = 0, 7
		} else {
			good[prefix+name] = 0
		}
	}
	y.one("sessions_started_total", "transport", "quic")
	y.add(3, 5, "circuit_bytes_total", "network", "client", "direction", "to_peer")
	y.one("circuit_duration_seconds_count", "network", "client")
	good[`swarmgate_sessions_started_total{transport="quic"}`] = 1
	good[`swarmgate_circuit_bytes_total{direction="to_peer",network="client"}`] = 4
	good[`swarmgate_circuit_duration_seconds_count{network="client"}`] = 1
	if wrong := y.compare(good); wrong != nil {
		t.Errorf("the same is %q", wrong)
	}
	for s, v := range map[string]float64{
		`swarmgate_sessions_started_total{transport="quic"}`:                  2,
		`swarmgate_sessions_started_total{transport="websocket"}`:             1,
		`swarmgate_circuit_bytes_total{direction="to_peer",network="client"}`: 6,
		`swarmgate_circuit_duration_seconds_count{network="client"}`:          0,
		"swarmgate_new_total": 0,
		"java_threads":        1,
	} {
		bad := maps.Clone(good)
		bad[s] = v
		if wrong := y.compare(bad); len(wrong) != 1 || !strings.HasPrefix(wrong[0], s) {
			t.Errorf("%s %v: %q", s, v, wrong)
		}
	}
	bad := maps.Clone(good)
	delete(bad, `swarmgate_sessions_started_total{transport="quic"}`)
	delete(bad, "swarmgate_visits")
	if wrong := y.compare(bad); len(wrong) != 2 {
		t.Errorf("two series less: %q", wrong)
	}
}
