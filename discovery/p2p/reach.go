package p2p

import (
	"context"
	"errors"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/wtproto"
)

// maxTargets is how many ways to reach one host are tried, one after the other.
const maxTargets = 4

// openLocked gets a link with n, unless that is going on.
func (ls *links) openLocked(n *neighbor) {
	if n.opening {
		return
	}
	n.opening = ls.h.serves.start(func() { ls.open(n) })
}

// open gets a link with n, and has it until it ends.
func (ls *links) open(n *neighbor) {
	l, err := ls.reach(n)
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

// reach connects to n and says HOST. The link is nil if one that n opened is there.
func (ls *links) reach(n *neighbor) (*link, error) {
	if err := ls.shunned(n.id); err != nil {
		return nil, err
	}
	if err := ls.dial(n); err != nil {
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

// dial makes sure that there is a connection with n, at one of the places where topics have found
// it.
func (ls *links) dial(n *neighbor) (err error) {
	var tried []target
	for len(tried) < maxTargets {
		where, ok := ls.untried(n, tried)
		if !ok {
			break
		}
		tried = append(tried, where)
		if err = ls.h.locate(ls.h.ctx, &where); err == nil {
			if err = ls.h.connect(ls.h.ctx, where); err == nil {
				return nil
			}
		}
	}
	if len(tried) == 0 {
		return errors.New("p2p: nobody wants the link any more")
	}
	return err
}

// untried returns a place where n is wanted, and that is not among those tried.
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
