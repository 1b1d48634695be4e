package p2p

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxFaulty is how many hosts that broke the rules are remembered. A host can make up ids for
// free, but has to connect with each.
const maxFaulty = 4096

// faulty is a host that broke the rules. We leave it alone for a while, longer each time.
type faulty struct {
	retry backoff.Backoff
	until time.Time
	err   error // its last breach
}

// isFault reports whether err, with which a link ended, means that the other host broke a rule.
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
			for other := range ls.faulty { // in random order
				delete(ls.faulty, other)
				break
			}
		}
		least := 30 * ls.h.RetryMin
		f = &faulty{retry: backoff.New(least, max(least, 6*ls.h.RetryMax))}
		ls.faulty[id] = f
	}
	if now.Before(f.until) {
		return // a breach from before we left it alone
	}
	f.err, f.until = err, now.Add(f.retry.Next())
	ls.h.log.Debug("host is left alone", "peer", id.String(), "for", f.until.Sub(now), "error", err)
}

// shunned returns why we leave id alone, or nil if we do not.
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
