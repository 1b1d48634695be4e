package p2p

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// enoughSeeds is with how many seeds a host keeps a connection, and with how many hosts of the
	// LAN. With fewer it keeps one with each. Whom it chooses of more is random, so that all hosts
	// together stay one DHT.
	enoughSeeds = 8
	// settleTime is how long a host that we connected to may take to turn up in the routing table.
	settleTime = 2 * time.Second
	// steady is how long a connection with a seed must have lasted for the next one to be a new
	// story: to be tried soon, and to be told what we announce.
	steady = time.Minute
	// tagSeed keeps the connection manager away from seeds.
	tagSeed = "swarmgate/seed"
)

// errAlone is why a host is not in a DHT that nobody has shown it.
var errAlone = wtproto.Errorf(wtproto.CodePeerUnreachable, "no other host of the DHT is known, and no seed is configured: give others an address of this host as --dht-seed, or this host one of theirs")

// seedList decides to which of the hosts by which a DHT is entered a connection is made, and when:
// configured seeds, and hosts of the LAN. Pure accounting: it dials nobody.
//
// A host whose table is not empty needs its seeds all the same. A seed that was restarted knows
// nobody, so newcomers would find nobody there until the others come back to it.
type seedList struct {
	min, max   time.Duration // delays between two dials of one seed
	configured []*seed       // one for each host, in the order of the configuration
	turns      []*seed       // the same, in the order in which they are tried
	lan        []*seed
}

// seed is one of them.
type seed struct {
	target
	retry   backoff.Backoff
	next    time.Time // it is not dialed before
	dialing bool
	since   time.Time // when the connection was made that is there; zero without
	lasted  bool      // the connection before this one was steady, or there was none
	err     error     // why the last dial failed, nil if none has since there was a connection
}

func newSeedList(targets []target, min, max time.Duration) *seedList {
	s := &seedList{min: min, max: max}
	for _, t := range targets {
		if i := slices.IndexFunc(s.configured, func(o *seed) bool { return o.id == t.id }); i >= 0 {
			o := s.configured[i]
			o.addrs = append(o.addrs[:len(o.addrs):len(o.addrs)], t.addrs...)
			continue
		}
		s.configured = append(s.configured, s.add(t))
	}
	s.turns = slices.Clone(s.configured)
	rand.Shuffle(len(s.turns), func(i, j int) { s.turns[i], s.turns[j] = s.turns[j], s.turns[i] })
	return s
}

func (s *seedList) add(t target) *seed {
	return &seed{target: t, retry: backoff.New(s.min, s.max), lasted: true}
}

// sawLAN says who is on the LAN now.
func (s *seedList) sawLAN(hosts []target) {
	known := make(map[peer.ID]*seed, len(s.lan))
	for _, o := range s.lan {
		known[o.id] = o
	}
	s.lan = s.lan[:0]
	for _, t := range hosts { // in no order
		if slices.ContainsFunc(s.configured, func(o *seed) bool { return o.id == t.id }) {
			continue
		}
		o := known[t.id]
		if o == nil {
			o = s.add(t)
		}
		o.target = t
		s.lan = append(s.lan, o)
	}
}

// update takes note of the connections that there are: connected returns since when one with a
// host is, or zero. It reports whether a seed is connected that may know nothing of us.
func (s *seedList) update(now time.Time, connected func(peer.ID) time.Time) (isNew bool) {
	for _, o := range s.all() {
		before := o.since
		if o.since = connected(o.id); o.since.Equal(before) {
			continue
		}
		if !before.IsZero() { // that one has ended
			if o.lasted = now.Sub(before) >= steady; o.lasted {
				o.retry.Reset()
			}
			o.next = now.Add(o.retry.Next())
		}
		if !o.since.IsZero() {
			isNew = isNew || o.lasted || o.err != nil
			o.err = nil
		}
	}
	return isNew
}

// due returns whom to dial now, and when to ask again at the latest.
func (s *seedList) due(now time.Time) (dial []*seed, again time.Time) {
	again = now.Add(s.max)
	for _, group := range [][]*seed{s.turns, s.lan} {
		n := 0
		for _, o := range group {
			if o.dialing || !o.since.IsZero() {
				n++
			}
		}
		for _, o := range group {
			switch {
			case o.dialing || !o.since.IsZero():
			case n >= enoughSeeds:
			case o.next.After(now):
				if o.next.Before(again) {
					again = o.next
				}
			default:
				n++
				o.dialing = true
				dial = append(dial, o)
			}
		}
	}
	return dial, again
}

// dialed says what came of a dial. It reports whether the seed does not answer any more, or for
// the first time.
func (s *seedList) dialed(o *seed, err error, now time.Time) (isNews bool) {
	o.dialing = false
	o.next = now.Add(o.retry.Next())
	if err == nil {
		return false
	}
	isNews = o.err == nil
	o.err = explain(o.target, err)
	return isNews
}

// verdict returns why no other host is known. Nil means that it is too early to say: it may be
// known at the time of again, if that is not zero.
func (s *seedList) verdict(now time.Time) (again time.Time, err error) {
	all := s.all()
	if len(all) == 0 {
		return again, errAlone
	}
	var latest time.Time
	var errs []error
	for _, o := range all {
		if o.since.After(latest) {
			latest = o.since
		}
		if o.err != nil {
			errs = append(errs, o.err)
		}
	}
	switch {
	case !latest.IsZero() && now.Before(latest.Add(settleTime)):
		return latest.Add(settleTime), nil
	case !latest.IsZero():
		return again, wtproto.Errorf(wtproto.CodePeerUnreachable, "the seeds answer, but are not in the DHT: check that they are hosts of the same DHT, and that others can connect to them")
	case len(errs) < len(all) && len(errs) < enoughSeeds:
		return again, nil
	default:
		return again, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "no seed of the DHT answers: " + cure(errs[0]), Err: several(errs)}
	}
}

// missing returns how many of the configured seeds do not answer, and which and why, nil if all do.
func (s *seedList) missing() (int, error) {
	var errs []error
	for _, o := range s.configured {
		if o.err != nil {
			errs = append(errs, o.err)
		}
	}
	if len(errs) == 0 {
		return 0, nil
	}
	return len(errs), &wtproto.Error{
		Code:   wtproto.CodePeerUnreachable,
		Reason: fmt.Sprintf("it works, but %d of %d seeds of the DHT do not answer: %s", len(errs), len(s.configured), cure(errs[0])),
		Err:    several(errs),
	}
}

func (s *seedList) all() []*seed { return slices.Concat(s.configured, s.lan) }

// cure says in short what to do about a seed that could not be connected to because of err.
func cure(err error) string {
	if _, ok := errors.AsType[sec.ErrPeerIDMismatch](err); ok {
		return "another host is at its address, so configure the id that is there"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name is not resolved, so correct it"
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code != wtproto.CodePeerUnreachable {
		return e.Reason // it was not even dialed
	}
	return "see that it runs, and that its TCP port can be reached from here"
}

// explain says what to do about a seed that could not be connected to.
func explain(t target, err error) error {
	if e, ok := errors.AsType[sec.ErrPeerIDMismatch](err); ok {
		return fmt.Errorf("another host is at the address of the seed %s: configure it with the id %s: %w", t.id, e.Actual, err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("check the name of the seed %s: %w", t.id, err)
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code != wtproto.CodePeerUnreachable {
		return err // it was not even dialed
	}
	var places []string
	for _, m := range t.addrs {
		if p := placeOf(m); p != "" && !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return fmt.Errorf("check that %s can be reached from here: %w", strings.Join(places, " or "), err)
}

// placeOf returns m in words, such as "TCP port 4434 of 192.0.2.1".
func placeOf(m ma.Multiaddr) string {
	if len(m) < 2 {
		return m.String()
	}
	return fmt.Sprintf("TCP port %s of %s", m[1].Value(), m[0].Value())
}

// several are errors in one line.
type several []error

func (s several) Error() string {
	var b strings.Builder
	for i, err := range s {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns them all.
func (s several) Unwrap() []error { return s }
