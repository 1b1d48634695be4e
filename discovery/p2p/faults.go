package p2p

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxFaulty is how many hosts that broke the rules are remembered. Ids cost nothing, but
// connections do.
const maxFaulty = 4096

// faulty is a host that broke the rules. It is left alone for a while, longer each time.
type faulty struct {
	retry backoff.Backoff
	until time.Time
	err   error // what it did last
}

// isFault reports whether err, with which a link ended, is the other host's breach of a rule.
func isFault(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	if !ok || e.Remote {
		return false
	}
	switch e.Code {
	case wtproto.CodeProtocol, wtproto.CodeTooLarge, wtproto.CodeForbidden, wtproto.CodeRateLimited:
		return true
	}
	return false
}

// blame leaves id alone for a while because of err, and ends the link with it. Circuits go on.
func (ls *links) blame(id peer.ID, err error) {
	ls.mu.Lock()
	var l *link
	if n := ls.hosts[id]; n != nil {
		l = n.link
	}
	ls.blameLocked(id, err)
	ls.mu.Unlock()
	if l != nil {
		l.fail(err, codeOf(err))
	}
}

func (ls *links) blameLocked(id peer.ID, err error) {
	now := time.Now()
	f := ls.faulty[id]
	if f == nil {
		if len(ls.faulty) >= maxFaulty {
			for other := range ls.faulty { // begins anywhere
				delete(ls.faulty, other)
				break
			}
		}
		least := 30 * ls.h.RetryMin
		f = &faulty{retry: backoff.New(least, max(least, 6*ls.h.RetryMax))}
		ls.faulty[id] = f
	}
	if now.Before(f.until) {
		return // what it did before it was left alone
	}
	f.err, f.until = err, now.Add(f.retry.Next())
	ls.h.log.Debug("host is left alone", "peer", id.String(), "for", f.until.Sub(now), "error", err)
}

// shunned returns why id is left alone, or nil if it is not.
func (ls *links) shunned(id peer.ID) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.shunnedLocked(id)
}

func (ls *links) shunnedLocked(id peer.ID) error {
	f := ls.faulty[id]
	if f == nil {
		return nil
	}
	left := time.Until(f.until)
	if left <= 0 {
		return nil
	}
	return &wtproto.Error{
		Code: wtproto.CodeBusy, Err: f.err,
		Reason: "the host broke the protocol, and is left alone for " + left.Round(time.Second).String() + ": update or correct its program",
	}
}
