package main

import "fmt"

// measureBase compares the gateway with another one. Peers and clients are those of this program.
func measureBase(b *bench) ([]row, error) {
	base, err := b.gatewayOf(b.base, "base", "quic", "udp")
	if err != nil {
		return nil, err
	}
	ours, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	cs := []*contender{base, ours}
	defer b.end(cs...)
	const most = 100
	if err := connect(most, cs...); err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []struct {
		kind           string
		streams, chunk int
	}{{"down", 1, chunk}, {"down", 16, chunk}, {"down", most, 16 << 10}, {"up", 1, chunk}, {"up", 16, chunk}, {"up", most, 16 << 10}, {"up", most, 1200}} {
		n := b.bytes
		all, err := b.turns(order{Do: "transfer", Kind: way.kind, Streams: way.streams, Bytes: n / int64(way.streams), Chunk: way.chunk}, cs...)
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("%s, %d circuits, %d B", way.kind, way.streams, way.chunk)
		rows = append(rows,
			ratio(what+": rate", none, "MB/s", each(all[1], rate(n)), each(all[0], rate(n))),
			ratio(what+": CPU", none, "s/GiB", each(all[1], perGiB(n)), each(all[0], perGiB(n))))
	}
	echoes, err := b.turns(order{Do: "echo", Bytes: 64, Count: b.count(2000)}, cs...)
	if err != nil {
		return nil, err
	}
	n := b.count(4000)
	openings, err := b.turns(order{Do: "openings", Count: n, Parallel: 16}, cs...)
	if err != nil {
		return nil, err
	}
	return append(rows,
		ratio("round trip of 64 bytes, p50", none, "ms", each(echoes[1], quantile(0.5)), each(echoes[0], quantile(0.5))),
		ratio("further circuits with a TCP peer", none, "a CPU second", each(openings[1], perCPU(n)), each(openings[0], perCPU(n)))), nil
}
