package main

import "fmt"

// measureMemory measures what of the gateway's memory sessions, topics and circuits need that do
// nothing: heap and stacks after a collection, divided by how many there are.
func measureMemory(b *bench) ([]row, error) {
	var rows []row
	add := func(name string, n int, limit float64, used float64) {
		rows = append(rows, newRow(name, "KB", atMost(limit), []float64{used / float64(n) / 1000}))
	}
	sessions, topics, circuits := b.count(500), 40, b.count(2000)

	c, p, err := b.memoryOf()
	if err != nil {
		return nil, err
	}
	used, err := p.grows(func() error { return c.order(order{Do: "hold", Count: sessions}) })
	if err != nil {
		return nil, err
	}
	add("idle session, QUIC", sessions, 45, used)
	used, err = p.grows(func() error { return c.order(order{Do: "hold", Count: sessions, Topics: 1}) })
	if err != nil {
		return nil, err
	}
	perSessionAlone := used / float64(sessions)
	add("idle session with a topic, QUIC", sessions, 45, used)
	b.end(c)

	if c, p, err = b.memoryOf(); err != nil {
		return nil, err
	}
	if used, err = p.grows(func() error { return c.order(order{Do: "hold", Count: 50}) }); err != nil {
		return nil, err
	}
	base := used
	if used, err = p.grows(func() error { return c.order(order{Do: "hold", Count: 50, Topics: topics}) }); err != nil {
		return nil, err
	}
	add("topic on its own", 50*topics, 3, used-base)
	b.end(c)

	if c, p, err = b.memoryOf(); err != nil {
		return nil, err
	}
	if used, err = p.grows(func() error { return c.order(order{Do: "connect", Streams: circuits}) }); err != nil {
		return nil, err
	}
	used -= perSessionAlone * float64((circuits+perSession-1)/perSession)
	add("idle circuit with a TCP peer", circuits, 8, used)
	b.end(c)

	if c, p, err = b.memoryOf(); err != nil {
		return nil, err
	}
	clients := b.count(1000)
	if err := c.order(order{Do: "hold", Count: clients}); err != nil {
		return nil, err
	}
	var met sample
	used, err = p.grows(func() (err error) {
		met, err = c.do(order{Do: "meet", Way: c.way})
		return err
	})
	if err != nil {
		return nil, err
	}
	r := newRow(fmt.Sprintf("%d clients in one topic that say nothing of max peers", clients), "MiB", atMost(250), []float64{used / (1 << 20)})
	r.Of = fmt.Sprintf("%d circuits", met.Done)
	b.end(c)
	return append(rows, r), nil
}

// memoryOf starts a gateway whose memory is looked at.
func (b *bench) memoryOf() (*contender, *program, error) {
	c, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, nil, err
	}
	return c, c.program, nil
}

// order is do of an order whose outcome does not matter.
func (c *contender) order(o order) error {
	_, err := c.do(o)
	return err
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
