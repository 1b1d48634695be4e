package main

import (
	"errors"
	"fmt"
	"os"
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

// topicsEach is how many topics a session has of many.
const topicsEach = 50

// manyTopics has a gateway be on many topics, of which the DHT has another host.
func (b *bench) manyTopics() (c *contender, n int, err error) {
	if c, err = b.native(); err != nil {
		return nil, 0, err
	}
	sessions := b.count(10000) / topicsEach
	if err := c.order(order{Do: "hold", Count: sessions, Topics: topicsEach}); err != nil {
		return nil, 0, err
	}
	return c, sessions * topicsEach, c.program.announced(sessions*topicsEach, false)
}

// idling measures what part of a core c needs in windows of a length, and how many look-ups and
// announcements it makes a second meanwhile.
func (c *contender) idling(windows int, length time.Duration) (parts []float64, lookUps, announcements float64, err error) {
	count := func() (l, a float64, err error) {
		l, err1 := c.program.metric("swarmgate_lookups_total")
		a, err2 := c.program.metric("swarmgate_announcements_total")
		return l, a, errors.Join(err1, err2)
	}
	l, a, err := count()
	if err != nil {
		return nil, 0, 0, err
	}
	began := time.Now()
	for range windows {
		before, err := c.server.cpu()
		if err != nil {
			return nil, 0, 0, err
		}
		<-time.After(length)
		after, err := c.server.cpu()
		if err != nil {
			return nil, 0, 0, err
		}
		parts = append(parts, 100*(after-before).Seconds()/length.Seconds())
	}
	lookUps, announcements, err = count()
	took := time.Since(began).Seconds()
	return parts, (lookUps - l) / took, (announcements - a) / took, err
}

// measureTopics measures what part of a core a gateway needs for topics on a private DHT that it has
// just been asked for, and on which nothing happens.
func measureTopics(b *bench) ([]row, error) {
	began := time.Now()
	c, n, err := b.manyTopics()
	if err != nil {
		return nil, err
	}
	settle, length := 20*time.Second, 4*time.Second
	if b.part > 1 {
		settle, length = 2*time.Second, time.Second
	}
	<-time.After(settle)
	age := time.Since(began)
	parts, lookUps, _, err := c.idling(b.rounds, length)
	if err != nil {
		return nil, err
	}
	r := newRow(fmt.Sprintf("%d topics on a private DHT, in their first look-ups", n), "% of a core", bar{}, parts)
	r.Of = fmt.Sprintf("%v after the first JOIN, with %.0f look-ups a second", age.Round(time.Second), lookUps)
	return []row{r}, nil
}

const (
	// atRestEvery is the mean time between two look-ups of a topic at rest, which is 15 to 30
	// minutes.
	atRestEvery = 22*time.Minute + 30*time.Second
	// restAfter is how long it takes at least until the look-ups of a topic are that rare, and
	// restWithin how long it may take.
	restAfter, restWithin = 30 * time.Minute, time.Hour
)

// measureRest measures the same when the topics have come to rest, for about as long as a topic is
// announced once. It takes forty minutes.
func measureRest(b *bench) ([]row, error) {
	began := time.Now()
	c, n, err := b.manyTopics()
	if err != nil {
		return nil, err
	}
	for rest := float64(n) / atRestEvery.Seconds(); ; {
		_, lookUps, _, err := c.idling(1, time.Minute)
		if err != nil {
			return nil, err
		}
		age := time.Since(began)
		fmt.Fprintf(os.Stderr, "after %v %.0f look-ups a second, at rest about %.0f\n", age.Round(time.Second), lookUps, rest)
		if age >= restAfter && lookUps < 1.25*rest {
			break
		}
		if age > restWithin {
			return nil, errors.New("the topics do not come to rest")
		}
	}
	age := time.Since(began)
	parts, lookUps, announcements, err := c.idling(b.rounds, 2*time.Minute)
	if err != nil {
		return nil, err
	}
	r := newRow(fmt.Sprintf("%d topics on a private DHT, at rest", n), "% of a core", atMost(5), parts)
	r.Of = fmt.Sprintf("%v after the first JOIN, with %.1f look-ups and %.1f announcements a second", age.Round(time.Second), lookUps, announcements)
	return []row{r}, nil
}
