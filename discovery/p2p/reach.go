package p2p

import (
	"context"
	"errors"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxTargets is how many ways to reach one host are tried, one after the other.
const maxTargets = 4

// openLocked opens a link with n, unless that is going on already. It ends own, a turn to dial. If
// own is nil, it waits for a turn first.
func (ls *links) openLocked(n *neighbor, own *turn) {
	start := func(t *turn) bool { return ls.h.serves.start(func() { ls.open(n, t) }) }
	switch {
	case n.opening && (own == nil || n.turn == nil):
		own.done()
	case own != nil:
		n.turn.done() // the turn may just have come
		n.opening, n.turn = true, own
		if !start(own) { // the host is being closed
			own.done()
			n.opening, n.turn = false, nil
		}
	default:
		n.opening = true
		r, payers := ls.payLocked(n)
		n.turn = ls.h.dials.want(r, payers, start)
	}
}

// payLocked returns the payers for which n is dialed, and the rank.
func (ls *links) payLocked(n *neighbor) (r fair.Rank, payers []discovery.Payer) {
	r = fair.Later
	if n.sought && ls.seeks[n.id] == nil {
		r = fair.First
	}
	if n.sought {
		payers = append(payers, discovery.Payer{lanPayer{}})
	}
	for _, w := range n.wants {
		if len(payers) >= discovery.MaxPayers {
			break
		}
		state := w.r.t.presence.Now()
		payers = append(payers, payersOf(state, ls.h.Gateway)...)
	}
	return r, payers
}

// open opens a link with n, and serves it until it ends. The turn to dial is t, unless n has
// another one.
func (ls *links) open(n *neighbor, t *turn) {
	ls.mu.Lock()
	mine, there := n.turn == t, n.link != nil
	if mine {
		n.turn, n.opening = nil, !there
	}
	ls.mu.Unlock()
	if !mine || there {
		t.done()
		return
	}
	l, err := ls.reach(n, t)
	if err == nil && l != nil && ls.establish(l) {
		l.run()
		return
	}
	ls.mu.Lock()
	n.opening = false
	ls.soughtLocked(n, n.link != nil)
	var failed []*remote
	if n.link == nil {
		if err == nil {
			err = wtproto.Errorf(wtproto.CodePeerUnreachable, "the link ended at once: see the log of the other host")
		}
		for digest, w := range n.wants {
			failed = append(failed, w.r)
			delete(n.wants, digest)
		}
	}
	ls.forgetLocked(n)
	ls.mu.Unlock()
	for _, r := range failed {
		r.t.failed(r, err)
	}
}

// reach connects to n and sends HOST. The link is nil if n has opened one itself. It ends t.
func (ls *links) reach(n *neighbor, t *turn) (*link, error) {
	err := ls.shunned(n.id)
	if err != nil {
		t.done()
	} else {
		err = ls.dial(n, t)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ls.h.ctx, ls.h.AnswerTimeout)
	defer cancel()
	s, err := ls.h.openStream(ctx, n.id)
	if err != nil {
		return nil, err
	}
	l := ls.newLink(s, true)
	ls.mu.Lock()
	arrived, there := n.arrived, n.link != nil
	if !there {
		n.trying = l
	}
	ls.mu.Unlock()
	if there {
		reset(s, wtproto.CodeNone)
		return nil, nil
	}
	if err = l.hello(); err == nil {
		return l, nil
	}
	reset(s, codeOf(err))
	ls.mu.Lock()
	if n.trying == l {
		n.trying = nil
	}
	ls.mu.Unlock()
	if isReplaced(err) { // the other host's link stays, and is about to come
		select {
		case <-arrived:
			return nil, nil
		case <-ctx.Done():
		}
	}
	return nil, err
}

// dial makes sure that there is a connection with n. It tries the addresses at which topics have
// found n, with a turn for each topic, and ends t.
func (ls *links) dial(n *neighbor, t *turn) (err error) {
	defer func() { t.done() }()
	var tried []target
	for len(tried) < maxTargets {
		where, ok := ls.untried(n, tried)
		if !ok {
			break
		}
		if len(tried) > 0 { // this target may have more addresses than the one before
			t.done()
			ls.mu.Lock()
			r, payers := ls.payLocked(n)
			ls.mu.Unlock()
			if t = ls.h.dials.await(ls.h.ctx, r, payers); t == nil {
				return ls.h.ctx.Err()
			}
		}
		tried = append(tried, where)
		if err = ls.h.locate(ls.h.ctx, &where); err == nil {
			if err = ls.h.connect(ls.h.ctx, where, t); err == nil {
				return nil
			}
		}
	}
	if len(tried) == 0 {
		return errors.New("p2p: no topic needs the link any more")
	}
	return err
}

// untried returns a target of n with addresses that are not among those tried.
func (ls *links) untried(n *neighbor, tried []target) (target, bool) {
	near, ok := ls.h.lan.target(n.id)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if n.sought && ok && !covered(near, tried) {
		return near, true
	}
	for _, w := range n.wants {
		if !covered(w.where, tried) {
			return w.where, true
		}
	}
	return target{}, false
}

// covered reports whether all addresses of where are among those tried.
func covered(where target, tried []target) bool {
	for _, t := range tried {
		if t.named != where.named {
			continue
		}
		all := true
		for _, m := range where.addrs {
			all = all && ma.Contains(t.addrs, m)
		}
		if all {
			return true
		}
	}
	return false
}
