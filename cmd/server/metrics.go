package main

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// metricPrefix is how the names of our metrics begin.
const metricPrefix = "swarmgate_"

// metrics count events for Prometheus. Strangers cannot create values of labels: these are names
// of limits, codes, networks and transports. No label names a topic, an address, a token, a peer
// or a principal.
type metrics struct {
	registry *prometheus.Registry

	sessionsStarted, sessionsEnded, sessionsRefused *prometheus.CounterVec
	joins, connects, leaves, refusals               *prometheus.CounterVec
	authorizations                                  *prometheus.HistogramVec
	dials                                           *prometheus.CounterVec
	dialTime                                        *prometheus.HistogramVec
	circuitsOpened, circuitsEnded                   *prometheus.CounterVec
	circuitTime                                     *prometheus.HistogramVec
	lookUps, lookUpAnswers, announcements           *prometheus.CounterVec
	lookUpTime, announcementTime, turnTime          *prometheus.HistogramVec
}

// Bounds of histograms, in seconds.
var (
	answerBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	roundBuckets  = []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 20, 30, 60}
	lifeBuckets   = []float64{.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}
)

func newMetrics() *metrics {
	r := prometheus.NewRegistry()
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	m := &metrics{
		registry:         r,
		sessionsStarted:  counter("sessions_started_total", "Sessions that were welcomed.", "transport"),
		sessionsEnded:    counter("sessions_ended_total", "Sessions that were welcomed and have ended, by the code that ended them.", "transport", "code"),
		sessionsRefused:  counter("sessions_refused_total", "Connections that ended before they were welcomed, by the code that they were told.", "code"),
		joins:            counter("joins_total", "Topics that sessions asked to join, by what they were told: NONE says that they may.", "code"),
		connects:         counter("connects_total", "Further circuits that clients asked for, by what they were told: NONE says that there is one, WITHDRAWN that the client changed its mind.", "code"),
		leaves:           counter("leaves_total", "Topics that sessions had joined and are not on any more: NONE after LEAVE, else the code that ended the session.", "code"),
		refusals:         counter("refusals_total", "Limits that were met, with the code that was told; NONE where nobody is told and something waits or is not done.", "limit", "code"),
		authorizations:   histogram("authorization_duration_seconds", "How long it took to decide whether a client may come in, by the answer: NONE says that it may.", answerBuckets, "code"),
		dials:            counter("dials_total", "Dials of peers that have ended, by code: NONE says that the peer answered.", "network", "code"),
		dialTime:         histogram("dial_duration_seconds", "How long peers took to answer a dial.", answerBuckets, "network"),
		circuitsOpened:   counter("circuits_opened_total", "Circuits over which bytes could pass.", "network"),
		circuitsEnded:    counter("circuits_ended_total", "Circuits that had opened and have ended, by code: APPLICATION stands for the codes of the programs at the ends.", "network", "code"),
		circuitTime:      histogram("circuit_duration_seconds", "How long circuits lasted.", lifeBuckets, "network"),
		lookUps:          counter("lookups_total", "Look-ups of peers on networks: of one topic in a DHT, of all topics on a LAN.", "network", "result"),
		lookUpTime:       histogram("lookup_duration_seconds", "How long look-ups took.", roundBuckets, "network"),
		lookUpAnswers:    counter("lookup_answers_total", "Answers that look-ups brought.", "network"),
		announcements:    counter("announcements_total", "Announcements of topics on networks.", "network", "result"),
		turnTime:         histogram("turn_wait_seconds", "How long look-ups and announcements of topics, and dials of hosts, waited for their turn, on networks where there are turns.", roundBuckets, "network", "work"),
		announcementTime: histogram("announcement_duration_seconds", "How long announcements took.", roundBuckets, "network"),
	}
	for _, l := range server.Limits() { // so that Prometheus sees the first refusal as an increase
		m.refusals.WithLabelValues(string(l.Name), codeLabel(l.Code))
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricPrefix + "build_info", Help: "Always 1; the labels say what the program was built from.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler answers Prometheus.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// observer returns the observer of a server.
func (m *metrics) observer() *server.Observer {
	return &server.Observer{
		SessionStarted: func(s server.SessionInfo) { m.sessionsStarted.WithLabelValues(s.Transport).Inc() },
		SessionEnded: func(s server.SessionInfo, c wtproto.Code) {
			m.sessionsEnded.WithLabelValues(s.Transport, codeLabel(c)).Inc()
		},
		SessionRefused: func(c wtproto.Code) { m.sessionsRefused.WithLabelValues(codeLabel(c)).Inc() },
		Authorized: func(took time.Duration, c wtproto.Code) {
			m.authorizations.WithLabelValues(codeLabel(c)).Observe(took.Seconds())
		},
		Joined:          func() { m.joins.WithLabelValues(codeLabel(wtproto.CodeNone)).Inc() },
		JoinRefused:     func(c wtproto.Code) { m.joins.WithLabelValues(codeLabel(c)).Inc() },
		ConnectAnswered: func(c wtproto.Code) { m.connects.WithLabelValues(codeLabel(c)).Inc() },
		Left:            func(c wtproto.Code) { m.leaves.WithLabelValues(codeLabel(c)).Inc() },
		Refused: func(l server.LimitName, c wtproto.Code) {
			m.refusals.WithLabelValues(string(l), codeLabel(c)).Inc()
		},
		Dialed: func(network string, took time.Duration, c wtproto.Code) {
			m.dials.WithLabelValues(network, codeLabel(c)).Inc()
			if c == wtproto.CodeNone {
				m.dialTime.WithLabelValues(network).Observe(took.Seconds())
			}
		},
		CircuitOpened: func(network string) { m.circuitsOpened.WithLabelValues(network).Inc() },
		CircuitEnded: func(e server.CircuitEnd) {
			m.circuitsEnded.WithLabelValues(e.Network, codeLabel(e.Code)).Inc()
			m.circuitTime.WithLabelValues(e.Network).Observe(e.Lasted.Seconds())
		},
	}
}

// networkObserver returns the observer of the networks.
func (m *metrics) networkObserver() *discovery.Observer {
	return &discovery.Observer{
		LookedUp: func(network string, found int, took time.Duration, err error) {
			m.lookUps.WithLabelValues(network, resultLabel(err)).Inc()
			m.lookUpTime.WithLabelValues(network).Observe(took.Seconds())
			m.lookUpAnswers.WithLabelValues(network).Add(float64(found))
		},
		Announced: func(network string, took time.Duration, err error) {
			m.announcements.WithLabelValues(network, resultLabel(err)).Inc()
			m.announcementTime.WithLabelValues(network).Observe(took.Seconds())
		},
		Turned: func(network, work string, waited time.Duration) {
			m.turnTime.WithLabelValues(network, work).Observe(waited.Seconds())
		},
	}
}

// codeLabel returns a code as the value of a label. Peers and clients may send any number.
func codeLabel(c wtproto.Code) string {
	if c >= wtproto.CodeApplication {
		return "APPLICATION"
	}
	if name := c.String(); !strings.HasPrefix(name, "0x") {
		return name
	}
	return "UNKNOWN"
}

func resultLabel(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
