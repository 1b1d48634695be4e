package main

import (
	"fmt"
	"time"
)

// of100Mbit is the link of the rows that have one.
func of100Mbit(loss float64, tcp string) link {
	return link{MbitPerSecond: 100, RTT: 20 * time.Millisecond, Loss: loss, TCP: tcp}
}

// lossName says what a link loses, for people.
func lossName(loss float64) string {
	if loss == 0 {
		return "no loss"
	}
	return fmt.Sprintf("%g %% loss", 100*loss)
}

// measureBeside measures round trips of 64 bytes over a link that other circuits of the session
// fill: beside 64 of them, and without loss beside one.
func measureBeside(b *bench) ([]row, error) {
	if why := noLink(); why != "" {
		return []row{missing("round trip of 64 bytes beside 64 bulk circuits", why)}, nil
	}
	var rows []row
	for _, loss := range []float64{0, 0.01} {
		some, err := b.beside(loss)
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// beside measures over a link that loses packets.
func (b *bench) beside(loss float64) ([]row, error) {
	l := of100Mbit(loss, "cubic")
	back, err := b.connectBy(l)
	if err != nil {
		return nil, err
	}
	defer back()
	defer b.endAll()
	quic, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	page, err := b.other(quic, "gateway, WebTransport", "webtransport", "udp")
	if err != nil {
		return nil, err
	}
	socket, err := b.other(quic, "gateway, WebSocket", "websocket", "")
	if err != nil {
		return nil, err
	}
	mux, err := b.yamux()
	if err != nil {
		return nil, err
	}
	quic.name = "gateway, QUIC"
	type turn struct {
		*contender
		streams int
	}
	turns := []turn{{quic, 64}, {page, 64}, {socket, 64}, {mux, 64}}
	if loss == 0 {
		turns = append(turns, turn{quic, 1}, turn{page, 1})
	}
	p50, p99, mbs := map[turn][]float64{}, map[turn][]float64{}, map[turn][]float64{}
	for round := range b.rounds {
		for k := range turns {
			t := turns[(k+round)%len(turns)]
			s, err := t.do(order{Do: "beside", Streams: t.streams, Bytes: 64, Count: b.count(50), Parallel: 4})
			if err != nil {
				return nil, err
			}
			p50[t], p99[t], mbs[t] = append(p50[t], quantile(0.5)(s)), append(p99[t], quantile(0.99)(s)), append(mbs[t], s.Rate)
		}
	}
	var rows []row
	for _, t := range turns[:4] {
		ours := t.contender == quic || t.contender == page
		if loss == 0 && ours {
			one := turn{t.contender, 1}
			r := ratio(fmt.Sprintf("%s, %v: p50 beside 64 bulk circuits, against one", t.name, l), atMost(1.05), "ms", p50[t], p50[one])
			r.Of += fmt.Sprintf(", bulk %s : %s MB/s", short(median(mbs[t])), short(median(mbs[one])))
			rows = append(rows, r)
		}
		middle := newRow(fmt.Sprintf("%s, %v: p50 beside 64", t.name, l), "ms", onlyIf(ours && loss > 0, atMost(28)), p50[t])
		middle.Of = fmt.Sprintf("bulk %s MB/s", short(median(mbs[t])))
		rows = append(rows, middle, newRow(fmt.Sprintf("%s, %v: p99 beside 64", t.name, l), "ms", onlyIf(ours && loss > 0, atMost(70)), p99[t]))
		b.note("beside", t.name, lossName(loss)+", p50", "ms", p50[t])
		b.note("beside", t.name, lossName(loss)+", p99", "ms", p99[t])
	}
	return rows, nil
}

// measureLink compares bytes of one circuit over a link: QUIC, TCP with the same congestion control,
// and with loss TCP with BBR.
func measureLink(b *bench) ([]row, error) {
	if why := noLink(); why != "" {
		return []row{missing("down 1 over a link of 20 ms", why)}, nil
	}
	defer b.endAll()
	var rows []row
	for _, loss := range []float64{0, 0.01} {
		n := b.bytes / 8
		if loss > 0 {
			n = b.bytes / 64
		}
		l := of100Mbit(loss, "cubic")
		cs, err := b.contendersOf(l)
		if err != nil {
			return nil, err
		}
		if loss > 0 {
			bbr, err := b.contenderOf(of100Mbit(loss, "bbr"), (*bench).yamux)
			if err != nil {
				return nil, err
			}
			bbr.name += ", BBR"
			cs = append(cs, bbr)
		}
		if err := connect(1, cs...); err != nil {
			return nil, err
		}
		all, err := b.turns(order{Do: "transfer", Kind: "down", Streams: 1, Bytes: n}, cs...)
		if err != nil {
			return nil, err
		}
		for i, c := range cs {
			b.note("link", c.name, lossName(loss), "MB/s", each(all[i], rate(n)))
			if i > 0 {
				rows = append(rows, ratio(fmt.Sprintf("down 1, %v: gateway over QUIC against %s", l, c.name), none, "MB/s", each(all[0], rate(n)), each(all[i], rate(n))))
			}
		}
		b.endAll()
	}
	return rows, nil
}

// contendersOf returns all who can be on a link, the gateway over QUIC first.
func (b *bench) contendersOf(l link) ([]*contender, error) {
	back, err := b.connectBy(l)
	if err != nil {
		return nil, err
	}
	defer back()
	quic, err := b.gateway("quic", "udp")
	if err != nil {
		return nil, err
	}
	quic.name = "gateway, QUIC"
	socket, err := b.other(quic, "gateway, WebSocket", "websocket", "")
	if err != nil {
		return nil, err
	}
	stock, err := b.raw("stock")
	if err != nil {
		return nil, err
	}
	mux, err := b.yamux()
	if err != nil {
		return nil, err
	}
	relay, err := b.relay()
	return []*contender{quic, socket, stock, mux, relay}, err
}

// contenderOf returns one on a link of its own.
func (b *bench) contenderOf(l link, start func(*bench) (*contender, error)) (*contender, error) {
	back, err := b.connectBy(l)
	if err != nil {
		return nil, err
	}
	defer back()
	return start(b)
}
