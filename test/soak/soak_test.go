//go:build !race

// Package soak runs a gateway for long while clients, peers, topics, tokens and certificates come
// and go, and looks for what is left.
package soak

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

var (
	soakTime = flag.Duration("soak", time.Minute, "how long TestSoak takes until its last round ends")
	soakSeed = flag.Uint64("seed", 0, "what TestSoak does; 0 for something new")
)

const (
	warmUp  = 5 * time.Second  // the first round; what is there after it may be there after the second
	least   = 25 * time.Second // the second round, on a machine that was busy during the first
	workers = 16               // acts at once
	ofHost  = 100 << 10        // bytes that libp2p's peerstore and DHT keep for a time of a host that has gone
	renewal = 6 * time.Second  // between new certificates, and between new tokens
)

// Sessions in Go over QUIC and WebSocket, TCP services and libp2p peers come and go, beside 100
// sessions with 20 circuits each that stay. Certificates are renewed, tokens end, and principals
// want more than they may have. No byte is lost, nothing is left, and /metrics says what happened.
//
// Most circuits are short, and both ends send their end in the same moment: two of about 108,000
// that ended so were once told to have been reset, and lost their last bytes.
func TestSoak(t *testing.T) {
	p := plan{*soakSeed}
	if p.seed == 0 {
		p.seed = rand.Uint64()
	}
	t.Logf("go test ./test/soak -run TestSoak -soak %v -seed %d, with a %s", *soakTime, p.seed, p.authorizer())
	began := time.Now()
	g := newGenerator(t, p)
	g.round(warmUp)
	before, hosts := g.settle(), g.hosts.Load()
	g.check("after the first round")
	g.round(max(least, *soakTime-time.Since(began)))
	after := g.settle()
	g.check("at the end")
	t.Logf("%s%d circuits, %d MiB, %d strays; before %v, after %v",
		g.summary(), g.ends.last.Load(), g.bytes.Load()>>20, g.ends.strays.Load(), before, after)
	limit := before.memory + before.memory/10 + 8<<20 + ofHost*float64(g.hosts.Load()-hosts)
	if after.memory > limit {
		t.Errorf("%.1f MiB of memory, at most %.1f", mib(after.memory), mib(limit))
	}
	if after.goroutines > before.goroutines+10 {
		t.Errorf("%.0f goroutines, %.0f before", after.goroutines, before.goroutines)
	}
	if after.files > before.files {
		t.Errorf("%.0f file descriptors, %.0f before", after.files, before.files)
	}
	t.Logf("CPU %v", g.program.CPU(t))
	g.program.Terminate(t)
}

// round has everything come and go for so long, and ends what has come.
func (g *generator) round(d time.Duration) {
	g.t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	failed := func(err error) {
		if err != nil {
			g.t.Error(err)
		}
	}
	ready := make(chan struct{})
	all.Go(func() { failed(g.reside(stop, func() { close(ready) })) })
	timeout := time.After(2 * gateway.Patience)
	select {
	case <-ready:
	case <-timeout:
		g.t.Fatal("no residents")
	}
	end := time.Now().Add(d)
	for range workers {
		all.Go(func() {
			for time.Now().Before(end) && !g.t.Failed() {
				failed(g.do(int(g.next.Add(1) - 1)))
			}
		})
	}
	all.Go(func() {
		const takes = 30 * time.Second // until it is noticed
		for i := 0; (i == 0 && d > warmUp || time.Until(end) > takes) && !g.t.Failed(); i++ {
			failed(g.vanish(i % groups))
		}
	})
	all.Go(func() {
		for time.Until(end) > renewal && !g.t.Failed() {
			<-time.After(renewal / 2)
			g.certs.renew(g.t)
			g.certs.taken(g.t, g.program.QUIC)
			g.tally.set(float64(g.certs.expiry.Unix()), "certificate_expiry_timestamp_seconds")
			g.tally.set(float64(g.certs.began.Unix()), "certificate_not_before_timestamp_seconds")
			<-time.After(renewal / 2)
			failed(g.rotate())
		}
	})
	timer := time.AfterFunc(d, func() { close(stop) })
	defer timer.Stop()
	all.Wait()
	g.leaving.Wait()
	if g.t.Failed() {
		g.t.FailNow()
	}
}

// rotate adds a generation of tokens, and has an old one go. Sessions that have shown its tokens
// go on.
func (g *generator) rotate() error {
	fresh := g.tokens.add(g.t)
	if err := g.until(fresh.plain, wtproto.CodeNone); err != nil {
		return fmt.Errorf("new tokens: %w", err)
	}
	g.tokens.use(fresh)
	if old := g.tokens.revoke(g.t); old != nil {
		if err := g.until(old.plain, wtproto.CodeUnauthorized); err != nil {
			return fmt.Errorf("old tokens: %w", err)
		}
	}
	return nil
}

// until shows a token until the gateway says that code.
func (g *generator) until(token string, code wtproto.Code) error {
	timeout := time.After(gateway.Patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := g.enterWith(g.config("quic", token))
		if err == nil {
			g.leaveSoon(s, 0)
		}
		if e, ok := errors.AsType[*wtproto.Error](err); err == nil && code == wtproto.CodeNone || ok && e.Remote && e.Code == code {
			return nil
		} else if err != nil && !(ok && e.Remote && e.Code == wtproto.CodeUnauthorized) {
			return err
		}
		select {
		case <-tick.C:
		case <-timeout:
			return fmt.Errorf("the gateway does not say %v", code)
		}
	}
}

// resources are what a gateway at rest has.
type resources struct {
	memory, goroutines, files float64
}

func (r resources) String() string {
	return fmt.Sprintf("%.1f MiB, %.0f goroutines, %.0f file descriptors", mib(r.memory), r.goroutines, r.files)
}

// settle returns what the gateway has when all topics have ended, two collections after that, and
// once it has stopped falling.
func (g *generator) settle() (low resources) {
	g.t.Helper()
	const collections = "go_gc_duration_seconds_count"
	var m program.Metrics
	gateway.Eventually(g.t, "all has ended", func() bool {
		m = g.program.Metrics(g.t)
		for s, v := range m {
			if name, _ := metricOf(s); (name == "topics" || name == "sessions" || name == "circuits" || name == "visits") && v > 0 {
				return false
			}
		}
		return true
	})
	first := m[collections]
	quiet := 0
	low = resources{memory: 1 << 62, goroutines: 1 << 30, files: 1 << 30}
	gateway.Eventually(g.t, "memory and goroutines settle", func() bool {
		m = g.program.Metrics(g.t) // which makes garbage
		now := resources{m["swarmgate_memory_in_use_bytes"], m["go_goroutines"], m["process_open_fds"]}
		if now.memory >= low.memory*0.99 && now.goroutines >= low.goroutines && now.files >= low.files {
			quiet++
		} else {
			quiet = 0
		}
		low = resources{min(low.memory, now.memory), min(low.goroutines, now.goroutines), min(low.files, now.files)}
		return quiet > 50 && m[collections] >= first+2
	})
	return low
}

// check compares /metrics with the tally.
func (g *generator) check(when string) {
	g.t.Helper()
	m := g.program.Metrics(g.t)
	// Names that have been forgotten are not counted, nor is the address: who has a name does not
	// share it with others.
	g.tally.add(0, int64(g.tokens.names()+1), "principals")
	g.countStrays()
	if wrong := g.tally.compare(m); wrong != nil {
		g.t.Errorf("%s /metrics says:\n%s", when, strings.Join(wrong, "\n"))
	}
}

// countStrays counts circuits with services that may have come about, for clients that had left.
func (g *generator) countStrays() {
	n := g.ends.strays.Load()
	more := n - g.strays
	g.strays = n
	if all := int64(g.ends.last.Load()); n > 10+all/100 {
		g.t.Errorf("%d services had a client that was gone, of %d circuits", n, all)
	}
	for name, labels := range map[string][]string{
		"circuits_opened_total": nil, "circuit_duration_seconds_count": nil, "dial_duration_seconds_count": nil,
		"dials_total": {"code", "NONE"},
	} {
		g.tally.add(0, more, name, append([]string{"network", "static"}, labels...)...)
	}
	for _, code := range []wtproto.Code{wtproto.CodeNone, wtproto.CodeLeft, wtproto.CodePeerGone} {
		g.tally.add(0, more, "circuits_ended_total", "network", "static", "code", code.String())
	}
}

func mib(n float64) float64 { return n / (1 << 20) }
