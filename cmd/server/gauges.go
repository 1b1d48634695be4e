package main

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges collect the present numbers of a gateway when Prometheus asks.
type gauges struct {
	gateway *gateway

	ready, sessions, visits, topics, circuits, places, bytes *prometheus.Desc
	dialsRunning, dialsWaiting, principals, atLimit, outbox  *prometheus.Desc
	memory, memoryFull, memoryOver                           *prometheus.Desc
	dhtHosts, dhtServing, seedsMissing                       *prometheus.Desc
	turnsWaiting, notBefore, notAfter                        *prometheus.Desc
	acmeFailing, acmeOrders                                  *prometheus.Desc
}

func newGauges(g *gateway) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
	}
	return &gauges{
		gateway:      g,
		ready:        desc("ready", "Whether new the gateway accepts sessions: 1, or 0 while the gateway starts or ends."),
		sessions:     desc("sessions", "Sessions that have been welcomed.", "transport"),
		visits:       desc("visits", "Connections without a session: those that have said nothing yet, and HTTP/3 requests."),
		topics:       desc("topics", "Topics that run: joined, or in the grace time after everybody has left.", "state"),
		circuits:     desc("circuits", "Circuits over which bytes can pass.", "network"),
		places:       desc("circuit_places", "Places for circuits that sessions hold: open, opening and offered. A circuit between two clients has two."),
		bytes:        desc("circuit_bytes_total", "Bytes that circuits have moved, while they move.", "network", "direction"),
		dialsRunning: desc("dials_running", "Dials of peers that run."),
		dialsWaiting: desc("dials_waiting", "Dials of peers that wait for their turn."),
		principals:   desc("principals", "Names of grants and addresses that are known."),
		atLimit:      desc("principals_at_limit", "Principals that were refused something at a limit of their own, and have given nothing of it back since."),
		outbox:       desc("outbox_bytes", "Control frames that wait to be sent."),
		memory:       desc("memory_in_use_bytes", "Memory that Go needed when it collected garbage last."),
		memoryFull:   desc("memory_full_bytes", "Memory in use from which on nobody who has sessions or circuits gets further ones."),
		memoryOver:   desc("memory_over_bytes", "Memory in use from which on circuits that wait are ended."),
		dhtHosts:     desc("dht_hosts", "Hosts of the DHT that the gateway knows. With none it finds nobody there."),
		dhtServing:   desc("dht_serving", "Whether the gateway keeps records of a private DHT for others: 1, or 0."),
		turnsWaiting: desc("turns_waiting", "Look-ups and announcements of topics, and dials of hosts, that wait for their turn.", "network", "work"),
		seedsMissing: desc("dht_seeds_missing", "Hosts of --dht-seed that do not answer. The log says which."),
		notBefore:    desc("certificate_not_before_timestamp_seconds", "When the life of the certificate that clients get began; of several, of the one that expires first."),
		notAfter:     desc("certificate_expiry_timestamp_seconds", "When that certificate expires."),
		acmeFailing:  desc("acme_failing", "Names whose last attempt to get a certificate by --acme failed, or all of them if certificates cannot be saved. /readyz says why."),
		acmeOrders:   desc("acme_orders_total", "Attempts to get a certificate by --acme.", "result"),
	}
}

// Describe sends all descriptions.
func (c *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.ready, c.sessions, c.visits, c.topics, c.circuits, c.places, c.bytes, c.dialsRunning, c.dialsWaiting,
		c.principals, c.atLimit, c.outbox, c.memory, c.memoryFull, c.memoryOver, c.dhtHosts, c.dhtServing, c.seedsMissing, c.turnsWaiting,
		c.notBefore, c.notAfter, c.acmeFailing, c.acmeOrders,
	} {
		ch <- d
	}
}

// Collect sends the present numbers.
func (c *gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	moved := func(v int64, network, direction string) {
		ch <- prometheus.MustNewConstMetric(c.bytes, prometheus.CounterValue, float64(v), network, direction)
	}
	s := c.gateway.server.Stats()
	ready := 0.
	if c.gateway.ready.Load() {
		ready = 1
	}
	gauge(c.ready, ready)
	sessions := map[string]int{"quic": 0, "webtransport": 0, "websocket": 0}
	maps.Copy(sessions, s.Sessions)
	for transport, n := range sessions {
		gauge(c.sessions, float64(n), transport)
	}
	gauge(c.visits, float64(s.Visits))
	gauge(c.topics, float64(s.Topics), "joined")
	gauge(c.topics, float64(s.TopicsInGrace), "grace")
	for network, n := range s.Networks {
		gauge(c.circuits, float64(n.Circuits), network)
		moved(n.ToClient, network, "to_client")
		moved(n.ToPeer, network, "to_peer")
	}
	gauge(c.places, float64(s.Places))
	gauge(c.dialsRunning, float64(s.Dials))
	gauge(c.dialsWaiting, float64(s.DialsWaiting))
	gauge(c.principals, float64(s.Principals))
	gauge(c.atLimit, float64(s.PrincipalsAtLimit))
	gauge(c.outbox, float64(s.Outbox))
	gauge(c.memory, float64(s.Memory))
	gauge(c.memoryFull, float64(s.MemoryFull))
	gauge(c.memoryOver, float64(s.MemoryOver))
	if c.gateway.host != nil {
		gauge(c.dhtHosts, float64(c.gateway.host.Known()))
		serving := 0.
		if c.gateway.host.Serves() {
			serving = 1
		}
		gauge(c.dhtServing, serving)
		for work, n := range c.gateway.host.Waiting() {
			gauge(c.turnsWaiting, float64(n), c.gateway.host.Name(), work)
		}
		gauge(c.seedsMissing, float64(c.gateway.host.MissingSeeds()))
	}
	leaf := c.gateway.source.Leaf()
	gauge(c.notBefore, float64(leaf.NotBefore.Unix()))
	gauge(c.notAfter, float64(leaf.NotAfter.Unix()))
	failing, issued, failed := c.gateway.orders()
	gauge(c.acmeFailing, float64(failing))
	for result, n := range map[string]int{"ok": issued, "error": failed} {
		ch <- prometheus.MustNewConstMetric(c.acmeOrders, prometheus.CounterValue, float64(n), result)
	}
}
