//go:build !race

package soak

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// do does the i-th act.
func (g *generator) do(i int) error {
	a := g.plan.act(i)
	err := map[actKind]func(int, act) error{
		actVisit: g.visit, actParty: g.party, actNatives: g.natives, actRefused: g.refused,
		actExpires: g.expires, actReplace: g.replace, actLimits: g.limits, actBytes: g.takesTooMuch,
	}[a.Kind](i, a)
	if err != nil {
		return fmt.Errorf("act %d, %s: %w", i, a.Kind, err)
	}
	g.did(a.Kind)
	return nil
}

// visit has a session meet the services of a group, and open further circuits with them.
func (g *generator) visit(_ int, a act) error {
	s, err := g.enter(a.Transports[0])
	if err != nil {
		return err
	}
	return g.visitAs(s, a)
}

func (g *generator) visitAs(s *session, a act) error {
	top, err := g.join(s, groupTopic(a.Group), client.JoinOptions{LookUpOnly: true})
	if err != nil {
		return err
	}
	err = g.meet(top, services, a.Scripts, func(peers []client.Peer) error {
		return errors.Join(g.further(top, peers, a.Further), g.leaveTopic(top))
	})
	g.leaveSoon(s, 1)
	return err
}

// leaveTopic leaves a topic.
func (g *generator) leaveTopic(top *client.Topic) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), gateway.Patience)
	defer cancel()
	return top.Leave(ctx)
}

// leaveWith ends a session with its topic, which it leaves before if the act says so.
func (g *generator) leaveWith(s *session, a act, top *client.Topic) (err error) {
	if a.Leave {
		err = g.leaveTopic(top)
	}
	g.leaveSoon(s, 1)
	return err
}

// further opens further circuits with peers that follow, some of them at once, and asks for one
// with nobody.
func (g *generator) further(top *client.Topic, peers []client.Peer, scripts []script) error {
	if len(peers) == 0 || len(scripts) == 0 {
		return nil
	}
	errs := make(chan error)
	opening := make(chan struct{}, 8)
	for i, s := range scripts {
		go func() {
			opening <- struct{}{}
			defer func() { <-opening }()
			errs <- g.openFurther(top, peers[i%len(peers)], s)
		}()
	}
	var err error
	for range scripts {
		err = errors.Join(err, <-errs)
	}
	nobody := peers[0]
	nobody.ID = make([]byte, len(nobody.ID))
	return errors.Join(err, g.cannotOpen(top, nobody, wtproto.CodePeerUnreachable))
}

func (g *generator) openFurther(top *client.Topic, with client.Peer, s script) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), gateway.Patience)
	defer cancel()
	for {
		c, err := top.Open(ctx, with)
		if err == nil {
			g.tally.one("connects_total", "code", wtproto.CodeNone.String())
			return g.lead(c, s)
		}
		// An end that gets no processor time for some seconds is refused for now, maybe before its
		// CONNECT has come.
		e, ok := errors.AsType[*wtproto.Error](err)
		if !ok || !e.Remote || !slices.Contains([]wtproto.Code{wtproto.CodePeerUnreachable, wtproto.CodeBusy, wtproto.CodeIdle}, e.Code) {
			return fmt.Errorf("no further circuit over %s: %w", with.Network, err)
		}
		g.tally.add(0, 1, "connects_total", "code", e.Code.String())
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("no further circuit over %s: %w", with.Network, err)
		}
	}
}

// cannotOpen asks for a further circuit that there will not be.
func (g *generator) cannotOpen(top *client.Topic, with client.Peer, code wtproto.Code) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), gateway.Patience)
	defer cancel()
	c, err := top.Open(ctx, with)
	if err == nil {
		c.Reset(wtproto.CodeNone)
		return fmt.Errorf("there is a further circuit, want %v", code)
	}
	g.tally.one("connects_total", "code", code.String())
	return isRemote(err, code)
}

// isRemote checks that err is the gateway's, with a code.
func isRemote(err error, code wtproto.Code) error {
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || !e.Remote || e.Code != code {
		return fmt.Errorf("%v, want %v", err, code)
	}
	return nil
}

// party has sessions meet each other.
func (g *generator) party(i int, a act) error {
	topic := fmt.Sprintf("party-%d", i)
	var members []*session
	var tops []*client.Topic
	for _, transport := range a.Transports {
		s, err := g.enter(transport)
		if err != nil {
			return err
		}
		top, err := g.join(s, topic, client.JoinOptions{Streams: true, Networks: []string{wtproto.NetworkClient}})
		if err != nil {
			return err
		}
		members, tops = append(members, s), append(tops, top)
	}
	var following sync.WaitGroup
	accepting, stop := context.WithCancel(g.t.Context())
	defer stop()
	pairs := len(members) * (len(members) - 1) / 2
	ended := make(chan error)
	var mu sync.Mutex
	var leader int       // one of the members
	var with client.Peer // whom it has met
	for m, top := range tops {
		following.Go(func() {
			for n := 0; ; n++ {
				c, err := top.Accept(accepting)
				if err != nil {
					return
				}
				if p := c.Peer(); p.Initiator {
					mu.Lock()
					leader, with = m, p
					mu.Unlock()
					go func() { ended <- g.lead(c, a.Scripts[n%len(a.Scripts)]) }()
				} else {
					following.Go(func() {
						g.ends.follow(c)
						c.Close()
					})
				}
			}
		})
	}
	var err error
	timeout := time.After(2 * gateway.Patience)
	for range pairs {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-timeout:
			return errors.Join(err, fmt.Errorf("%d sessions do not all meet", len(members)))
		}
	}
	mu.Lock()
	err = errors.Join(err, g.further(tops[leader], []client.Peer{with}, a.Further))
	mu.Unlock()
	stop()
	following.Wait()
	for m, s := range members {
		err = errors.Join(err, g.leaveWith(s, a, tops[m]))
	}
	return err
}

// natives has a session meet libp2p peers.
func (g *generator) natives(i int, a act) error {
	topic := fmt.Sprintf("natives-%d", i)
	ctx, stop := context.WithCancel(g.t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for range a.Natives {
		h := gateway.Host(g.t, false, g.program.P2P.Addrs[0])
		g.hosts.Add(1)
		running.Go(func() {
			defer h.Close()
			gateway.RunNative(ctx, h, wtproto.TopicFromName(topic), discovery.Native(), func(s discovery.Stream) { g.ends.follow(s) })
		})
	}
	s, err := g.enter(a.Transports[0])
	if err != nil {
		return err
	}
	top, err := g.join(s, topic, client.JoinOptions{Networks: []string{"dht"}})
	if err != nil {
		return err
	}
	err = g.meet(top, a.Natives, a.Scripts, func(peers []client.Peer) error { return g.further(top, peers, a.Further) })
	return errors.Join(err, g.leaveWith(s, a, top))
}

// refused shows a token that nobody has.
func (g *generator) refused(_ int, a act) error {
	_, err := g.enterWith(g.config(a.Transports[0], rand.Text()))
	return isRemote(err, wtproto.CodeUnauthorized)
}

// hold has s meet the services of a group, and returns when the circuits with them are at rest, or
// with an error. ended waits until something has ended them, also after an error.
func (g *generator) hold(s *session, group int) (ended func() error, err error) {
	errs := make(chan error, services)
	n := 0
	ended = func() (err error) {
		for ; n > 0; n-- {
			err = errors.Join(err, <-errs)
		}
		return err
	}
	top, err := g.join(s, groupTopic(group), client.JoinOptions{LookUpOnly: true})
	if err != nil {
		return ended, err
	}
	for range services {
		c, err := g.accept(top)
		if err != nil {
			return ended, err
		}
		circuit := g.ends.begin(script{Kind: scriptHold, Rounds: 1}, c.Peer().Network)
		over := make(chan struct{})
		n++
		go func() {
			defer close(over)
			errs <- g.leads(circuit, c)
		}()
		select {
		case <-circuit.rested:
		case <-over:
			return ended, errors.New("a circuit ended before it was at rest")
		case <-time.After(gateway.Patience):
			return ended, errors.New("a circuit does not come to rest")
		}
	}
	return ended, nil
}

// expires has a session with circuits when its token ends.
func (g *generator) expires(i int, a act) error {
	for lives := 8 * time.Second; ; lives *= 2 {
		too, err := g.expiresAfter(lives, a)
		if err == nil || !too || lives >= gateway.Patience {
			return err
		}
		g.t.Logf("act %d: a token of %v was too short on this machine: %v", i, lives, err)
	}
}

// expiresAfter has a session with circuits when its token ends after so long. early says that the
// token ended before the circuits were at rest; all is counted then.
func (g *generator) expiresAfter(lives time.Duration, a act) (early bool, err error) {
	token := g.tokens.brief(g.t, lives)
	var s *session
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C { // until the gateway has read the file
		if s, err = g.enterWith(g.config(a.Transports[0], token)); isRemote(err, wtproto.CodeUnauthorized) != nil {
			tick.Stop()
			break
		}
	}
	if err != nil {
		return isRemote(err, wtproto.CodeTokenExpired) == nil, err
	}
	ended, err := g.hold(s, a.Group)
	if err != nil {
		if e := g.endsBy(s, wtproto.CodeTokenExpired, 0); e != nil {
			return false, errors.Join(err, e)
		}
		ended() // they were cut
		g.tally.add(0, 1, "leaves_total", "code", wtproto.CodeTokenExpired.String())
		return true, err
	}
	if err := errors.Join(g.endsBy(s, wtproto.CodeTokenExpired, 1), ended()); err != nil {
		return false, err
	}
	_, err = g.enterWith(g.config(a.Transports[0], token))
	return false, isRemote(err, wtproto.CodeTokenExpired)
}

// replace has the second session of a client end the first one with its circuits.
func (g *generator) replace(_ int, a act) error {
	of, _, free := g.tokens.take(a.Kind)
	defer free()
	secret := wtproto.Secret([]byte(rand.Text())[:16])
	enter := func(transport string) (*session, error) {
		cfg := g.config(transport, of.plain)
		cfg.Secret = &secret
		return g.enterWith(cfg)
	}
	old, err := enter(a.Transports[0])
	if err != nil {
		return err
	}
	ended, err := g.hold(old, a.Group)
	if err != nil {
		return err
	}
	s, err := enter(a.Transports[1])
	if err != nil {
		return err
	}
	return errors.Join(g.endsBy(old, wtproto.CodeReplaced, 1), ended(), g.visitAs(s, a))
}

// limits has a principal want more sessions, topics and circuits than its grant says.
func (g *generator) limits(i int, a act) error {
	_, token, free := g.tokens.take(a.Kind)
	defer free()
	if token == "" {
		return nil // all have been used
	}
	refused := func(limit string, code wtproto.Code) {
		g.tally.one("refusals_total", "limit", limit, "code", code.String())
	}
	var two [2]*session
	for n := range two {
		var err error
		if two[n], err = g.enterWith(g.config(a.Transports[n], token)); err != nil {
			return err
		}
	}
	_, err := g.enterWith(g.config(a.Transports[2], token))
	refused("sessions_principal", wtproto.CodeRateLimited)
	if err := isRemote(err, wtproto.CodeRateLimited); err != nil {
		return err
	}

	opts := client.JoinOptions{LookUpOnly: true}
	top, err := g.join(two[0], topicAlone, opts)
	if err != nil {
		return err
	}
	if _, err := g.join(two[0], fmt.Sprintf("limits-%d", i), opts); err != nil {
		return err
	}
	for n, limit := range []string{"topics_session", "topics_principal"} {
		_, err := g.join(two[n], "one too many", opts)
		refused(limit, wtproto.CodeTopicLimit)
		if err := isRemote(err, wtproto.CodeTopicLimit); err != nil {
			return err
		}
	}

	c, err := g.accept(top)
	if err != nil {
		return err
	}
	err = g.cannotOpen(top, c.Peer(), wtproto.CodeCircuitLimit)
	refused("circuits_session", wtproto.CodeCircuitLimit)
	err = errors.Join(err, g.lead(c, script{Kind: scriptTalk, Rounds: 1}))
	g.leaveSoon(two[0], 2)
	g.leaveSoon(two[1], 0)
	return err
}

// takesTooMuch has a principal use up its bytes.
func (g *generator) takesTooMuch(_ int, a act) error {
	_, token, free := g.tokens.take(a.Kind)
	defer free()
	if token == "" {
		return nil // all have been used
	}
	s, err := g.enterWith(g.config(a.Transports[0], token))
	if err != nil {
		return err
	}
	top, err := g.join(s, topicAlone, client.JoinOptions{LookUpOnly: true})
	if err != nil {
		return err
	}
	c, err := g.accept(top)
	if err != nil {
		return err
	}
	circuit := g.ends.begin(script{Kind: scriptSpend}, c.Peer().Network)
	err = g.leads(circuit, c)
	err = errors.Join(err, g.endsBy(s, wtproto.CodeForbidden, 1))
	_, again := g.enterWith(g.config(a.Transports[0], token))
	for range 2 {
		g.tally.one("refusals_total", "limit", "bytes", "code", wtproto.CodeForbidden.String())
	}
	return errors.Join(err, isRemote(again, wtproto.CodeForbidden))
}
