package certs

import (
	"crypto/tls"
	"time"
)

const (
	// settle is how long the clock has to agree before it may cost clients a pair that they know.
	settle = 10 * time.Minute
	// settleEarly is the same if clients know a pair that is not valid yet. Many small computers
	// have no clock of their own, and wait for the network to tell the time.
	settleEarly = 24 * time.Hour
)

// succession decides which pair clients get, and which pairs a restarted gateway has to find. It
// has no clock: its caller says what the clock shows, and for how long the program has run, which
// no clock that is set changes.
//
// A clock that is wrong for a moment costs nothing: a pair that was kept comes back when it fits
// again, and only a pair that has been served for a while takes its place.
type succession struct {
	kept pair // what clients may know
	made pair // what was made later; none if nothing was

	serving bool          // made was the answer of the last call
	since   time.Duration // how long the program had run when that began
}

// at returns the pair for clients at the time now, after the program has run for ran. If it
// reports changed, the pairs of s have to be saved. It calls make for new certificates, whose
// error it returns; then s is as it was.
func (s *succession) at(now time.Time, ran time.Duration, make func() (*tls.Certificate, error)) (serve pair, changed bool, err error) {
	if s.kept.fits(now) {
		s.serving = false
		return s.kept, false, nil
	}
	if !s.made.fits(now) {
		if err := s.makeAfter(now, make); err != nil {
			return pair{}, false, err
		}
		s.serving, changed = false, true
	}
	if !s.serving {
		s.serving, s.since = true, ran
	}
	wait := settle
	if s.kept.early(now) {
		wait = settleEarly
	}
	if ran-s.since < wait {
		return s.made, changed, nil
	}
	s.kept, s.made, s.serving = s.made, pair{}, false
	return s.kept, true, nil
}

// makeAfter makes the pair that follows the one that clients have learned last.
func (s *succession) makeAfter(now time.Time, make func() (*tls.Certificate, error)) error {
	var p pair
	for _, before := range []pair{s.made, s.kept} {
		if p.current == nil && usable(before.next, now) {
			p.current = before.next
		}
	}
	for _, c := range []**tls.Certificate{&p.current, &p.next} {
		if *c != nil {
			continue
		}
		cert, err := make()
		if err != nil {
			return err
		}
		*c = cert
	}
	s.made = p
	return nil
}

// pairs returns the pairs to save.
func (s *succession) pairs() []pair {
	var all []pair
	for _, p := range []pair{s.kept, s.made} {
		if !p.none() {
			all = append(all, p)
		}
	}
	return all
}
