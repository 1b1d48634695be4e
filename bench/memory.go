package main

import (
	"fmt"
	"time"
)

// measureMemory measures what of the gateway's memory sessions, topics and circuits need that do
// nothing: heap and stacks after a collection, divided by how many there are.
func measureMemory(b *bench) ([]row, error) {
	var rows []row
	add := func(name string, n int, limit, used float64) {
		rows = append(rows, newRow(name, "KB", atMost(limit), []float64{used / float64(n) / 1000}))
		b.note("memory", "measured", name, "KB", []float64{used / float64(n) / 1000})
		b.note("memory", "wanted, at most", name, "KB", []float64{limit})
	}
	for _, f := range []func(*bench, func(string, int, float64, float64)) error{sessionMemory, topicMemory, circuitMemory} {
		if err := f(b, add); err != nil {
			return nil, err
		}
	}
	dht, err := dhtMemory(b, add)
	if err != nil {
		return nil, err
	}
	crowd, err := crowdMemory(b)
	return append(rows, dht, crowd), err
}

// sessionMemory is that of sessions.
func sessionMemory(b *bench, add func(string, int, float64, float64)) error {
	n := b.count(500)
	for _, kind := range []struct {
		transport, name string
		limit           float64
	}{{"quic", "QUIC", 45}, {"webtransport", "WebTransport", 85}} {
		c, err := b.gateway(kind.transport, "udp")
		if err != nil {
			return err
		}
		for topics, name := range []string{"idle session, ", "idle session with a topic, "} {
			used, err := c.grows(order{Do: "hold", Count: n, Topics: topics})
			if err != nil {
				return err
			}
			add(name+kind.name, n, kind.limit, used)
		}
		b.end(c)
	}
	return nil
}

// topicMemory is that of topics on their own. The sessions that join them have been there before.
func topicMemory(b *bench, add func(string, int, float64, float64)) error {
	c, err := b.gateway("quic", "udp")
	if err != nil {
		return err
	}
	sessions, topics := max(b.count(50), 5), 40
	base, err := c.grows(order{Do: "hold", Count: sessions})
	if err != nil {
		return err
	}
	used, err := c.grows(order{Do: "hold", Count: sessions, Topics: topics})
	add("topic on its own", sessions*topics, 3, used-base)
	b.end(c)
	return err
}

// dhtMemory is that of topics on a private DHT, and their goroutines, after the first look-up and
// announcement of each.
func dhtMemory(b *bench, add func(string, int, float64, float64)) (row, error) {
	var r row
	c, err := b.native()
	if err != nil {
		return r, err
	}
	sessions, topics := max(b.count(20), 5), 40
	none, err := c.program.metric("go_goroutines")
	if err != nil {
		return r, err
	}
	base, err := c.grows(order{Do: "hold", Count: sessions})
	if err != nil {
		return r, err
	}
	before, err := c.program.metric("go_goroutines")
	if err != nil {
		return r, err
	}
	used, err := c.program.grows(func() error {
		if err := c.order(order{Do: "hold", Count: sessions, Topics: topics}); err != nil {
			return err
		}
		return c.program.announced(sessions*topics, true)
	})
	if err != nil {
		return r, err
	}
	after, err := c.program.metric("go_goroutines")
	add("topic on a private DHT", sessions*topics, 8, used-base)
	b.end(c)
	each := ((after - before) - (before - none)) / float64(sessions*topics)
	return newRow("topic on a private DHT, goroutines", "", atMost(2), []float64{each}), err
}

// announced waits until the gateway has announced n topics, and if it is to be idle until no look-up
// or announcement waits for its turn.
func (p *program) announced(n int, idle bool) error {
	for late := time.Now().Add(5 * patience); time.Now().Before(late); <-time.After(100 * time.Millisecond) {
		done, err := p.metric("swarmgate_announcements_total")
		if err != nil {
			return err
		}
		waiting, err := p.metric("swarmgate_turns_waiting")
		if err != nil {
			return err
		}
		if done >= float64(n) && (waiting == 0 || !idle) {
			return nil
		}
	}
	return fmt.Errorf("%d topics are not announced", n)
}

// circuitMemory is that of circuits with a TCP peer, and between two clients. What the sessions
// need that were opened for them is counted apart.
func circuitMemory(b *bench, add func(string, int, float64, float64)) error {
	tcp, err := b.gateway("quic", "udp")
	if err != nil {
		return err
	}
	sessions := 10
	ofSession, err := tcp.grows(order{Do: "hold", Count: sessions, Topics: 1})
	if err != nil {
		return err
	}
	ofSession /= float64(sessions)
	n := b.count(2000)
	used, err := tcp.program.grows(func() error { return idle(connect(n, tcp)) })
	if err != nil {
		return err
	}
	add("idle circuit with a TCP peer", n, 8, used-ofSession*float64((n+perSession-1)/perSession))

	pairs := 5
	each := b.count(200*pairs) / pairs
	var near []*contender
	for i := range pairs {
		c, err := b.pair(tcp, fmt.Sprintf("pair %d", i), "quic")
		if err != nil {
			return err
		}
		near = append(near, c)
	}
	used, err = tcp.program.grows(func() error { return idle(connect(each, near...)) })
	if err != nil {
		return err
	}
	add("idle circuit between two clients", each*pairs, 9, used-ofSession*float64(pairs))
	b.endAll()
	return nil
}

// idle waits until circuits have been idle for long enough to take less than busy ones, and returns
// err.
func idle(err error) error {
	<-time.After(4 * time.Second)
	return err
}

// crowdMemory is what a topic needs that many clients join who say nothing of how many peers they
// want.
func crowdMemory(b *bench) (row, error) {
	c, err := b.gateway("quic", "udp")
	if err != nil {
		return row{}, err
	}
	clients := b.count(1000)
	if err := c.order(order{Do: "hold", Count: clients}); err != nil {
		return row{}, err
	}
	var met sample
	used, err := c.program.grows(func() (err error) {
		met, err = c.do(order{Do: "meet", Way: c.way})
		return err
	})
	if err != nil {
		return row{}, err
	}
	r := newRow(fmt.Sprintf("%d clients in one topic that say nothing of max peers", clients), "MiB", atMost(250), []float64{used / (1 << 20)})
	r.Of = fmt.Sprintf("%d circuits", met.Done)
	b.end(c)
	return r, nil
}

// order is do of an order whose outcome does not matter.
func (c *contender) order(o order) error {
	_, err := c.do(o)
	return err
}

// grows returns by how many bytes the memory of the server of c grows by an order.
func (c *contender) grows(o order) (float64, error) {
	return c.program.grows(func() error { return c.order(o) })
}

// grows returns by how many bytes the memory of p grows by f.
func (p *program) grows(f func() error) (float64, error) {
	before, err := p.memory()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := p.memory()
	return after - before, err
}
