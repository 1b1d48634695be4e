package main

import (
	"fmt"
	"slices"
)

// measureEcho compares the round trip of 64 bytes on a quiet machine.
func measureEcho(b *bench) ([]row, error) {
	raw, err := b.raw("stock")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	cs := []*contender{raw, ours}
	defer b.end(cs...)
	if err := connect(1, cs...); err != nil {
		return nil, err
	}
	all, err := b.turns(order{Do: "echo", Bytes: 64, Count: b.count(2000)}, cs...)
	if err != nil {
		return nil, err
	}
	p50, p99 := quantile(0.5), quantile(0.99)
	return []row{
		ratio("round trip of 64 bytes, p50, against raw", atMost(1.5), "ms", each(all[1], p50), each(all[0], p50)),
		ratio("round trip of 64 bytes, p99, against raw", bar{}, "ms", each(all[1], p99), each(all[0], p99)),
	}, nil
}

// measureSessions compares how many sessions a second of the server's processor is worth.
func measureSessions(b *bench) ([]row, error) {
	raw, err := b.raw("udp")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	ours.way.Topic = ""
	direct, err := b.page()
	if err != nil {
		return nil, err
	}
	page, err := b.other(ours, "gateway, WebTransport", "webtransport", "udp")
	if err != nil {
		return nil, err
	}
	cs := []*contender{raw, ours, direct, page}
	defer b.end(cs...)
	n := b.count(600)
	all, err := b.turns(order{Do: "sessions", Count: n, Parallel: 8}, cs...)
	if err != nil {
		return nil, err
	}
	rate := func(i int) []float64 { return each(all[i], perCPU(n)) }
	return []row{
		ratio("sessions a CPU second, QUIC, against raw", atLeast(0.85), "a CPU second", rate(1), rate(0)),
		ratio("sessions a CPU second, WebTransport, against webtransport-go", atLeast(0.65), "a CPU second", rate(3), rate(2)),
	}, nil
}

// measureOpenings measures how many short circuits a second of the gateway's processor is worth.
func measureOpenings(b *bench) ([]row, error) {
	raw, err := b.raw("udp")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	clients, err := b.pair(ours, "two clients", "quic")
	if err != nil {
		return nil, err
	}
	cs := []*contender{raw, clients, ours}
	defer func() { b.end(slices.Clone(b.contenders)...) }()
	if err := connect(1, cs...); err != nil {
		return nil, err
	}
	n := b.count(2000)
	all, err := b.turns(order{Do: "openings", Count: n, Parallel: 16}, cs...)
	if err != nil {
		return nil, err
	}
	streams := "raw streams " + short(median(each(all[0], perCPU(n))))
	further := newRow("further circuits between two clients, a CPU second", "", atLeast(16000), each(all[1], perCPU(n)))
	tcp := newRow("further circuits with a TCP peer, a CPU second", "", none, each(all[2], perCPU(n)))
	further.Of, tcp.Of = streams, streams
	rows := []row{further, tcp}

	if all, err = b.turns(order{Do: "openings", Count: b.count(500), Parallel: 1}, cs...); err != nil {
		return nil, err
	}
	for i, with := range []string{"between two clients", "with a TCP peer"} {
		for _, q := range []float64{0.5, 0.99} {
			rows = append(rows, ratio(fmt.Sprintf("a further circuit %s to the first byte back, p%g, against a raw stream", with, 100*q), none, "ms",
				each(all[i+1], quantile(q)), each(all[0], quantile(q))))
		}
	}

	// New pairs: clients that join one topic, each with each.
	const members = 64
	pairs := members * (members - 1) / 2
	var rates []float64
	for range b.rounds {
		var fresh float64
		err := b.alone(ours, func() error {
			if _, err := ours.do(order{Do: "hold", Count: members}); err != nil {
				return err
			}
			o := order{Do: "meet", Way: ours.way, Count: 2 * pairs, Parallel: 2 * members}
			o.Way.Topic = fmt.Sprintf("meet %d", len(rates))
			s, err := ours.do(o)
			if err == nil && s.Done != pairs {
				err = fmt.Errorf("%d of %d pairs have met", s.Done, pairs)
			}
			fresh = perCPU(pairs)(s)
			return err
		})
		if err != nil {
			return nil, err
		}
		rates = append(rates, fresh)
	}
	return append(rows, newRow("new pairs of clients, a CPU second", "", atLeast(8000), rates)), nil
}

// alone runs f, and ends the sessions that it holds.
func (b *bench) alone(c *contender, f func() error) error {
	err := f()
	if _, e := c.do(order{Do: "release"}); err == nil {
		err = e
	}
	return err
}

// measureFirst measures how soon a client that joins a topic has the first byte of a peer, if the
// gateway has found the peer for somebody else before.
func measureFirst(b *bench) ([]row, error) {
	tcp, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	host, err := b.native()
	if err != nil {
		return nil, err
	}
	cs := []*contender{tcp, host}
	defer b.end(cs...)
	for _, c := range cs {
		c.way.Topic = topicGreet
	}
	all, err := b.turns(order{Do: "first", Count: max(b.count(200), 10)}, cs...)
	if err != nil {
		return nil, err
	}
	var rows []row
	for i, peer := range []string{"TCP peer", "libp2p peer"} {
		rows = append(rows,
			newRow("JOIN to the first byte of a "+peer+" that was found before, p50", "ms", atMost(1), each(all[i], quantile(0.5))),
			newRow("JOIN to the first byte of a "+peer+" that was found before, p99", "ms", atMost(4), each(all[i], quantile(0.99))))
	}
	return rows, nil
}
