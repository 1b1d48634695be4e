//go:build !race

package soak

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// reside has the residents talk with their services until stop is closed, and then end all in
// order. ready is called when all of them have their circuits.
func (g *generator) reside(stop <-chan struct{}, ready func()) error {
	var all, entered sync.WaitGroup
	errs := make(chan error, residents*(residentServices+1))
	entering := make(chan struct{}, 8) // at once
	entered.Add(residents)
	for i := range residents {
		all.Go(func() {
			entering <- struct{}{}
			err := g.resident(i, stop, func() {
				<-entering
				entered.Done()
			})
			if err != nil {
				errs <- fmt.Errorf("resident %d: %w", i, err)
			}
		})
	}
	waited := make(chan struct{})
	go func() {
		entered.Wait()
		close(waited)
	}()
	select {
	case <-waited:
	case err := <-errs:
		return err
	case <-time.After(2 * gateway.Patience):
		return errors.New("the residents do not get their circuits")
	}
	ready()
	all.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

// resident is one session. It calls ready when it has its circuits.
func (g *generator) resident(i int, stop <-chan struct{}, ready func()) error {
	s, err := g.enter([]string{client.TransportQUIC, client.TransportWebSocket}[i%2])
	if err != nil {
		return err
	}
	top, err := g.join(s, topicResidents, client.JoinOptions{LookUpOnly: true})
	if err != nil {
		return err
	}
	errs := make(chan error, residentServices)
	for n := range residentServices {
		c, err := g.accept(top)
		if err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(g.plan.seed, 1<<32+uint64(i*residentServices+n)))
		circuit := g.ends.begin(script{Kind: scriptStay, stop: stop, random: r}, c.Peer().Network)
		go func() { errs <- g.leads(circuit, c) }()
	}
	ready()
	for range residentServices {
		err = errors.Join(err, <-errs)
	}
	g.leaveSoon(s, 1)
	return err
}

// stay asks and answers with pauses until the script is to stop, and ends the circuit.
func (p *player) stay() error {
	if !p.leads {
		for {
			if err := p.turn(); errors.Is(err, io.EOF) && (p.read-8)%turnSize == 0 {
				return p.CloseWrite()
			} else if err != nil {
				return err
			}
		}
	}
	for {
		select {
		case <-p.c.stop:
			return p.endInTurn()
		case <-time.After(time.Duration(p.c.random.IntN(10_000)) * time.Millisecond):
			if err := p.turn(); err != nil {
				return err
			}
		}
	}
}

// quiet is a socket that one can silence: nothing gets in or out any more. Those of a session, which
// looks for other paths then, are silenced together.
type quiet struct {
	net.PacketConn
	silent *atomic.Bool
}

// ReadFrom returns what was not sent in silence.
func (q quiet) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := q.PacketConn.ReadFrom(b)
		if err != nil || !q.silent.Load() {
			return n, addr, err
		}
	}
}

// WriteTo sends b.
func (q quiet) WriteTo(b []byte, addr net.Addr) (int, error) {
	if q.silent.Load() {
		return len(b), nil
	}
	return q.PacketConn.WriteTo(b, addr)
}

// vanish has a session with circuits go without a word. The gateway notices after 25 s.
func (g *generator) vanish(group int) error {
	var silent atomic.Bool
	of, _, free := g.tokens.take("")
	defer free()
	cfg := g.config(client.TransportQUIC, of.plain)
	cfg.ListenPacket = func() (net.PacketConn, error) {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		return quiet{c, &silent}, err
	}
	s, err := g.enterWith(cfg)
	if err != nil {
		return err
	}
	ended, err := g.hold(s, group)
	if err != nil {
		return err
	}
	silent.Store(true)
	err = ended()
	s.Close()
	g.ended(s, wtproto.CodeIdle)
	g.tally.one("leaves_total", "code", wtproto.CodeIdle.String())
	return err
}
