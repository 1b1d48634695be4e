package main

import "fmt"

// measureBulk compares bytes of a TCP peer, through the gateway to a client in Go, with bytes of
// quic-go without a gateway: with the sockets of quic-go at both ends, and with those of this
// project at both ends. Beside it are what else one could use.
func measureBulk(b *bench) ([]row, error) {
	stock, err := b.raw("stock")
	if err != nil {
		return nil, err
	}
	fast, err := b.raw("udp")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	ours.name = "gateway, QUIC"
	far, err := b.other(ours, "gateway, stock client", "quic", "stock")
	if err != nil {
		return nil, err
	}
	page, err := b.other(ours, "gateway, WebTransport", "webtransport", "udp")
	if err != nil {
		return nil, err
	}
	socket, err := b.other(ours, "gateway, WebSocket", "websocket", "")
	if err != nil {
		return nil, err
	}
	mux, err := b.yamux()
	if err != nil {
		return nil, err
	}
	relay, err := b.relay()
	if err != nil {
		return nil, err
	}
	cs := []*contender{stock, fast, ours, far, page, socket, mux, relay}
	defer b.end(cs...)
	if err := connect(16, cs...); err != nil {
		return nil, err
	}
	bars := map[string]struct{ stock, fast, far, cpuStock, cpuFast bar }{
		"down 1":  {atLeast(1), atLeast(0.85), atLeast(0.9), atMost(1), atMost(1.25)},
		"down 16": {atLeast(1.1), atLeast(0.9), atLeast(0.9), atMost(1), atMost(1.25)},
		"up 1":    {stock: atLeast(1), fast: atLeast(0.85)},
		"up 16":   {stock: atLeast(1), fast: atLeast(0.85)},
	}
	var rows []row
	for _, kind := range []string{"down", "up"} {
		for _, streams := range []int{1, 16} {
			n := b.bytes
			what := fmt.Sprintf("%s %d", kind, streams)
			all, err := b.turns(order{Do: "transfer", Kind: kind, Streams: streams, Bytes: n / int64(streams)}, cs...)
			if err != nil {
				return nil, err
			}
			mbs := func(i int) []float64 { return each(all[i], rate(n)) }
			cpu := func(i int) []float64 { return each(all[i], perGiB(n)) }
			for i, c := range cs {
				if c != far {
					b.note("loopback", c.name, what, "MB/s", mbs(i))
					b.note("cpu", c.name, what, "s/GiB", cpu(i))
				}
			}
			bar := bars[what]
			rows = append(rows,
				ratio(what+": rate against stock quic-go", bar.stock, "MB/s", mbs(2), mbs(0)),
				ratio(what+": rate against internal/udp", bar.fast, "MB/s", mbs(2), mbs(1)),
				ratio(what+": CPU against stock quic-go", bar.cpuStock, "s/GiB", cpu(2), cpu(0)),
				ratio(what+": CPU against internal/udp", bar.cpuFast, "s/GiB", cpu(2), cpu(1)),
				ratio(what+": rate with a stock client, against stock", bar.far, "MB/s", mbs(3), mbs(0)),
				ratio(what+": rate over WebTransport, against QUIC", atLeast(0.95), "MB/s", mbs(4), mbs(2)),
				ratio(what+": CPU over WebTransport, against QUIC", atMost(1.05), "s/GiB", cpu(4), cpu(2)),
				ratio(what+": rate against yamux over one WebSocket", none, "MB/s", mbs(2), mbs(6)),
				ratio(what+": rate over WebSocket, against that", none, "MB/s", mbs(5), mbs(6)),
				ratio(what+": rate against a relay of libp2p", none, "MB/s", mbs(2), mbs(7)),
				ratio(what+": CPU against a relay of libp2p", none, "s/GiB", cpu(2), cpu(7)))
		}
	}
	return rows, nil
}

// measureMany compares bytes over many circuits at once with the same over one.
func measureMany(b *bench) ([]row, error) {
	const most = 1000
	raw, err := b.raw("udp")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	cs := []*contender{raw, ours}
	defer b.end(cs...)
	if err := connect(most, cs...); err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []struct {
		kind  string
		chunk int
		many  []int
	}{{"up", 16 << 10, []int{100, most}}, {"up", 1200, []int{100, most}}, {"down", 16 << 10, []int{most}}} {
		n := b.bytes
		if way.chunk < 4096 {
			n /= 4
		}
		rates := map[int][2][]float64{}
		for _, streams := range append([]int{1}, way.many...) {
			all, err := b.turns(order{Do: "transfer", Kind: way.kind, Streams: streams, Bytes: n / int64(streams), Chunk: way.chunk}, cs...)
			if err != nil {
				return nil, err
			}
			rates[streams] = [2][]float64{each(all[0], rate(n)), each(all[1], rate(n))}
			for i, who := range []string{"quic-go", "gateway"} {
				b.note("many", fmt.Sprintf("%s, %s, %d B", who, way.kind, way.chunk), fmt.Sprintf("%d at once", streams), "MB/s", rates[streams][i])
			}
			if streams > 1 {
				rows = append(rows, ratio(fmt.Sprintf("%s, %d circuits, %d B: CPU against raw", way.kind, streams, way.chunk),
					onlyIf(way.kind == "up", atMost(1.5)), "s/GiB", each(all[1], perGiB(n)), each(all[0], perGiB(n))))
			}
		}
		for _, streams := range way.many {
			own := ratio("", bar{}, "MB/s", rates[streams][0], rates[1][0])
			r := ratio(fmt.Sprintf("%s, %d circuits, %d B: rate against one", way.kind, streams, way.chunk), atLeast(own.Median), "MB/s",
				rates[streams][1], rates[1][1])
			r.Of += fmt.Sprintf("; raw %s (%s)", short(own.Median), own.Of)
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// measureNative compares a peer that is a libp2p host with one that is a TCP service.
func measureNative(b *bench) ([]row, error) {
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
	if err := connect(16, cs...); err != nil {
		return nil, err
	}
	var rows []row
	for _, kind := range []string{"down", "up"} {
		for _, streams := range []int{1, 16} {
			all, err := b.turns(order{Do: "transfer", Kind: kind, Streams: streams, Bytes: b.bytes / int64(streams)}, cs...)
			if err != nil {
				return nil, err
			}
			rows = append(rows,
				ratio(fmt.Sprintf("%s %d: rate against a TCP peer", kind, streams), atLeast(0.95), "MB/s", each(all[1], rate(b.bytes)), each(all[0], rate(b.bytes))),
				ratio(fmt.Sprintf("%s %d: CPU against a TCP peer", kind, streams), none, "s/GiB", each(all[1], perGiB(b.bytes)), each(all[0], perGiB(b.bytes))))
		}
	}
	return rows, nil
}

// measureStalled compares the 100th circuit of a session, of which 99 are not read though as much
// as possible waits for them, with that of a session without such. And it measures what the gateway
// holds for a reader that stops.
func measureStalled(b *bench) ([]row, error) {
	const readers = 100
	free, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	beside, err := b.other(free, "beside stalled readers", "quic", "udp")
	if err != nil {
		return nil, err
	}
	one, err := b.other(free, "one reader stops", "quic", "udp")
	if err != nil {
		return nil, err
	}
	cs := []*contender{free, beside}
	defer b.end(append(cs, one)...)
	if err := connect(1, one); err != nil {
		return nil, err
	}
	var held []float64
	for range b.rounds {
		used, err := one.program.grows(func() error { return one.order(order{Do: "stall", Streams: 1, Bytes: 1 << 30}) })
		if err != nil {
			return nil, err
		}
		held = append(held, used/(1<<20))
		if err := one.order(order{Do: "connect", Streams: 1}); err != nil { // another session, and the next reader
			return nil, err
		}
	}
	if err := connect(readers, cs...); err != nil {
		return nil, err
	}
	if err := beside.order(order{Do: "stall", Streams: readers - 1, Bytes: 1 << 30}); err != nil {
		return nil, err
	}
	all, err := b.turns(order{Do: "transfer", Kind: "down", Streams: 1, Bytes: b.bytes}, cs...)
	if err != nil {
		return nil, err
	}
	return []row{
		newRow("one reader stops, 1 GiB waits: the gateway holds more by", "MiB", atMost(0.3), held),
		ratio("down 1 beside 99 that are not read, against none", atLeast(0.99), "MB/s", each(all[1], rate(b.bytes)), each(all[0], rate(b.bytes))),
	}, nil
}

// none is the bar of a figure that nothing is promised of.
var none bar

func atLeast(x float64) bar { return bar{AtLeast: x} }
func atMost(x float64) bar  { return bar{AtMost: x} }

// onlyIf returns b if yes, else none.
func onlyIf(yes bool, b bar) bar {
	if !yes {
		return bar{}
	}
	return b
}
