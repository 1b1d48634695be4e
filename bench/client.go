package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// order is what a client process is told to do.
type order struct {
	Do       string // a method of worker
	Way      way
	Kind     string   // of an exchange: "down" or "up"
	Streams  int      // how many take part
	Bytes    int64    // over each of them
	Chunk    int      // bytes of each write or read; zero means chunk
	Count    int      // of round trips, sessions or openings
	Parallel int      // how many of these at once
	Sessions int      // that join a topic together
	Topics   int      // that each session joins
	Keys     []string // of topics, in hex
}

// outcome is how an order went.
type outcome struct {
	Seconds float64   // that it took
	Times   []float64 // of each round trip, in seconds, sorted
	Done    int       // how many, if the order does not say it
	Rate    float64   // MB/s beside it
}

// worker is a client process: it has sessions for exchanges, and others that it holds.
type worker struct {
	far     far // the last session for exchanges
	streams []stream
	held    []far
}

// serveClient is the role of a client.
func serveClient() error {
	var w worker
	return answerCalls(struct{}{}, func(request []byte) (any, error) {
		var o order
		if err := json.Unmarshal(request, &o); err != nil {
			return nil, err
		}
		do, ok := map[string]func(order) (outcome, error){
			"connect": w.connect, "transfer": w.transfer, "echo": w.echo, "sessions": w.sessions, "openings": w.openings,
			"beside": w.beside, "answer": w.answer, "hold": w.hold, "release": w.release, "meet": w.meet,
			"stall": w.stall, "first": w.first, "old bulk": w.oldBulk, "old echo": w.oldEcho, "old stop": w.oldStop,
		}[o.Do]
		if !ok {
			return nil, fmt.Errorf("the order %q", o.Do)
		}
		return do(o)
	})
}

// timed returns how long f takes.
func timed(f func() error) (outcome, error) {
	began := time.Now()
	err := f()
	return outcome{Seconds: time.Since(began).Seconds()}, err
}

// all runs f n times, at most parallel at once, and returns the first error.
func all(n, parallel int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	turns := make(chan struct{}, max(parallel, 1))
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			errs <- f(i)
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// perSession is how many streams a session has at most: clients in Go allow 256.
const perSession = 200

// connect opens streams for exchanges, over each of which an echo has come, in as many sessions as
// they need.
func (w *worker) connect(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return timed(func() (err error) {
		for left := o.Streams; left > 0; left -= perSession {
			if w.far, err = o.Way.dial(ctx); err != nil {
				return err
			}
			for range min(left, perSession) {
				s, err := w.far.open(ctx)
				if err != nil {
					return err
				}
				w.streams = append(w.streams, s)
				if err := echo(s, 1); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// transfer moves bytes over some of the streams at once.
func (w *worker) transfer(o order) (outcome, error) {
	exchange := down
	if o.Kind == "up" {
		exchange = up
	}
	size := o.Chunk
	if size == 0 {
		size = chunk
	}
	bufs := make([][]byte, o.Streams)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	return timed(func() error {
		return all(o.Streams, o.Streams, func(i int) error { return exchange(w.streams[i], o.Bytes, bufs[i]) })
	})
}

// echo measures round trips on the first stream, one after the other.
func (w *worker) echo(o order) (outcome, error) {
	var times []float64
	out, err := timed(func() error {
		for range o.Count {
			began := time.Now()
			if err := echo(w.streams[0], int(o.Bytes)); err != nil {
				return err
			}
			times = append(times, time.Since(began).Seconds())
		}
		return nil
	})
	slices.Sort(times)
	out.Times = times
	return out, err
}

// beside measures round trips in a session whose other circuits, each with a peer of its own, all
// receive as much as they can. It begins when they have for a while. Parallel circuits take one
// round trip after the other.
func (w *worker) beside(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o.Way.Topic, o.Way.Peers = topicMany, o.Streams+o.Parallel
	f, err := o.Way.dial(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer f.close()
	var streams []stream
	for range o.Streams + o.Parallel {
		s, err := f.open(ctx)
		if err != nil {
			return outcome{}, err
		}
		if err := echo(s, 1); err != nil {
			return outcome{}, err
		}
		streams = append(streams, s)
	}
	var received atomic.Int64
	for _, s := range streams[o.Parallel:] {
		go func() { // until the session ends
			if ask(s, askDown, 1<<50) == nil {
				io.Copy(counter{&received}, s)
			}
		}()
	}
	const warmUp, pause, enough = 2 * time.Second, 10 * time.Millisecond, 4 * time.Second
	<-time.After(warmUp)
	var mu sync.Mutex
	var times []float64
	before := received.Load()
	out, err := timed(func() error {
		start := time.Now()
		return all(o.Parallel, o.Parallel, func(i int) error {
			for k := 0; k < o.Count && time.Since(start) < enough; k++ {
				began := time.Now()
				if err := echo(streams[i], int(o.Bytes)); err != nil {
					return err
				}
				mu.Lock()
				times = append(times, time.Since(began).Seconds())
				mu.Unlock()
				<-time.After(pause)
			}
			return nil
		})
	})
	slices.Sort(times)
	out.Times, out.Rate = times, float64(received.Load()-before)/1e6/out.Seconds
	return out, err
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// answer joins a topic, and answers the exchanges of all who open circuits there.
func (w *worker) answer(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := o.Way.dialGateway(ctx)
	if err != nil {
		return outcome{}, err
	}
	w.held = append(w.held, &viaGateway{client: c})
	top, err := c.Join(ctx, wtproto.TopicFromName(o.Way.Topic), client.JoinOptions{Streams: true})
	if err != nil {
		return outcome{}, err
	}
	go func() {
		for {
			c, err := top.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return outcome{}, nil
}

// sessions opens sessions, and ends each at once.
func (w *worker) sessions(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	return timed(func() error {
		return all(o.Count, o.Parallel, func(int) error {
			f, err := o.Way.dial(ctx)
			if err == nil {
				f.close()
			}
			return err
		})
	})
}

// openings opens streams of the session, each for an echo of a byte. Times are those from nothing to
// the echo.
func (w *worker) openings(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	times := make([]float64, o.Count)
	out, err := timed(func() error {
		return all(o.Count, o.Parallel, func(i int) error {
			began := time.Now()
			s, err := w.far.open(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := echo(s, 1); err != nil {
				return err
			}
			times[i] = time.Since(began).Seconds()
			if err := s.CloseWrite(); err != nil {
				return err
			}
			if n, err := s.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				return fmt.Errorf("%d bytes, %v, want the end", n, err)
			}
			return nil
		})
	})
	slices.Sort(times)
	out.Times = times
	return out, err
}

// stall asks for bytes on the last streams, and never reads them. It returns a second later, when
// nothing has moved for long.
func (w *worker) stall(o order) (outcome, error) {
	for _, s := range w.streams[len(w.streams)-o.Streams:] {
		if err := ask(s, askDown, o.Bytes); err != nil {
			return outcome{}, err
		}
	}
	<-time.After(time.Second)
	return outcome{}, nil
}
