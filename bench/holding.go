package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is what a client does for sessions and topics rather than for bytes.

// hold opens sessions and topics, and has them stay.
func (w *worker) hold(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	var mu sync.Mutex
	keep := func(f far) {
		mu.Lock()
		defer mu.Unlock()
		w.held = append(w.held, f)
	}
	return timed(func() error {
		return all(o.Count, 16, func(i int) error {
			if o.Way.Kind == "webtransport" {
				return holdPage(ctx, o, i, keep)
			}
			c, err := o.Way.dialGateway(ctx)
			if err != nil {
				return err
			}
			keep(&viaGateway{client: c})
			for t := range o.Topics {
				if _, err := c.Join(ctx, wtproto.TopicFromName(topicAlone(i, t)), client.JoinOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// topicAlone is a topic on which a session is alone.
func topicAlone(session, topic int) string { return fmt.Sprintf("alone %d %d", session, topic) }

// holdPage is hold for one session over WebTransport.
func holdPage(ctx context.Context, o order, session int, keep func(far)) error {
	o.Way.Topic, o.Way.Alone = "", true
	if o.Topics > 0 {
		o.Way.Topic = topicAlone(session, 0)
	}
	f, err := o.Way.dialPage(ctx, true)
	if err == nil {
		keep(f)
	}
	return err
}

// first measures how long it takes from JOIN to the first byte of a peer that sends one to who
// comes, in one session after the other. With o.Topics each joins a late topic of its own. Else all
// join one, on whose peer the gateway has found already: a session that stays has met it before.
func (w *worker) first(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	var clients []*client.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for range o.Count + 1 {
		c, err := o.Way.dialGateway(ctx)
		if err != nil {
			return outcome{}, err
		}
		clients = append(clients, c)
	}
	if o.Topics == 0 {
		if err := firstByte(ctx, clients[o.Count], o.Way.Topic); err != nil {
			return outcome{}, err
		}
	}
	var times []float64
	out, err := timed(func() error {
		for i, c := range clients[:o.Count] {
			topic := o.Way.Topic
			if o.Topics > 0 {
				topic = topicLate(i)
			}
			began := time.Now()
			if err := firstByte(ctx, c, topic); err != nil {
				return err
			}
			times = append(times, time.Since(began).Seconds())
			c.Close()
		}
		return nil
	})
	slices.Sort(times)
	out.Times = times
	return out, err
}

// firstByte joins a topic, and reads the first byte of its peer.
func firstByte(ctx context.Context, c *client.Client, topic string) error {
	top, err := c.Join(ctx, wtproto.TopicFromName(topic), client.JoinOptions{LookUpOnly: true, MaxPeers: 1})
	if err != nil {
		return err
	}
	conn, err := top.Accept(ctx)
	if err != nil {
		return fmt.Errorf("no circuit: %w, %v", err, top.Status())
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// release ends what is held.
func (w *worker) release(order) (outcome, error) {
	return timed(func() error {
		for _, f := range w.held {
			f.close()
		}
		w.held = nil
		return nil
	})
}

// meet has sessions that are held join one topic, and a byte pass each way over each circuit that
// there is for two of them. It returns when there are Count ends of circuits, or no more for a
// while, which is not counted. MaxPeers of JOIN is o.Parallel.
func (w *worker) meet(o order) (outcome, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	var circuits int
	last := time.Now()
	began := last
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	for _, f := range w.held {
		go func() {
			top, err := f.(*viaGateway).client.Join(ctx, wtproto.TopicFromName(o.Way.Topic), client.JoinOptions{MaxPeers: o.Parallel})
			if err != nil {
				fail(err)
				return
			}
			for {
				c, err := top.Accept(ctx)
				if err != nil {
					return
				}
				go func() {
					if _, err := c.Write([]byte{1}); err != nil {
						fail(err)
					}
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						fail(err)
					}
					mu.Lock()
					circuits, last = circuits+1, time.Now()
					mu.Unlock()
				}()
			}
		}()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return outcome{}, err
		case <-tick.C:
		}
		mu.Lock()
		n, at := circuits, last
		mu.Unlock()
		if o.Count > 0 && n == o.Count || time.Since(at) > 5*time.Second {
			return outcome{Seconds: at.Sub(began).Seconds(), Done: n / 2}, nil
		}
	}
}
