package main

import (
	"errors"
	"fmt"
	"time"
)

// measureSlow measures how soon a client meets a peer that is announced, if each look-up takes 3 s
// and others, at another address, have joined many topics just before.
func measureSlow(b *bench) ([]row, error) {
	var at listening
	dht, err := b.startRole(&at, "dht")
	if err != nil {
		return nil, err
	}
	c := b.add("gateway, slow DHT", way{})
	c.peer = dht
	announcer := b.add("announcer", way{})
	if announcer.peer, err = b.startFar(new(listening), "native", at.Addr); err != nil {
		return nil, err
	}
	err = b.startGatewayOf(c, b.binary, "quic", "udp", "--dht", "private", "--dht-seed", at.Addr, "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return nil, err
	}
	var known outcome
	for deadline := time.Now().Add(patience); known.Done < late; <-time.After(50 * time.Millisecond) {
		if err := dht.call(struct{}{}, &known); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, errors.New("the topics are not announced")
		}
	}
	const sessions = 20
	n := max(b.count(1000), 5*sessions) / sessions
	if err := c.order(order{Do: "hold", Count: sessions, Topics: n}); err != nil {
		return nil, err
	}
	newcomer := c.way
	newcomer.From = "127.0.0.2"
	// One only: the gateway asks a host that it has met about further topics, without a look-up.
	s, err := c.do(order{Do: "first", Way: newcomer, Count: 1, Topics: 1})
	if err != nil {
		return nil, err
	}
	r := newRow(fmt.Sprintf("%d topics joined, look-ups of 3 s: JOIN to the first byte of a peer", sessions*n), "s", atMost(4), s.Times)
	return []row{r}, nil
}

// measureTopics measures what part of a core a gateway needs for topics on a private DHT on which
// nothing happens.
func measureTopics(b *bench) ([]row, error) {
	c, err := b.native()
	if err != nil {
		return nil, err
	}
	const each = 50
	sessions := b.count(10000) / each
	began := time.Now()
	if err := c.order(order{Do: "hold", Count: sessions, Topics: each}); err != nil {
		return nil, err
	}
	if err := c.program.announced(sessions*each, false); err != nil {
		return nil, err
	}
	settle, length := 20*time.Second, 4*time.Second
	if b.part > 1 {
		settle, length = 2*time.Second, time.Second
	}
	<-time.After(settle)
	age, lookedUp := time.Since(began), func() (float64, error) { return c.program.metric("swarmgate_lookups_total") }
	first, err := lookedUp()
	if err != nil {
		return nil, err
	}
	var parts []float64
	for range b.rounds {
		before, err := c.server.cpu()
		if err != nil {
			return nil, err
		}
		<-time.After(length)
		after, err := c.server.cpu()
		if err != nil {
			return nil, err
		}
		parts = append(parts, 100*(after-before).Seconds()/length.Seconds())
	}
	last, err := lookedUp()
	if err != nil {
		return nil, err
	}
	r := newRow(fmt.Sprintf("%d topics on a private DHT on which nothing happens", sessions*each), "% of a core", atMost(5), parts)
	r.Of = fmt.Sprintf("%v after the first JOIN, with %.0f look-ups a second", age.Round(time.Second), (last-first)/(float64(b.rounds)*length.Seconds()))
	return []row{r}, nil
}
