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
	// enoughSeeds is how many connections with seeds a host keeps, and how many with hosts of the
	// LAN. If there are fewer, it keeps one with each. If there are more, it chooses at random, so
	// that all hosts together stay one DHT.
	enoughSeeds = 8
	// settleTime is how long a host may take to appear in the routing table after we have
	// connected to it.
	settleTime = 2 * time.Second
	// steady is how long a connection with a seed must last to count as good. After its loss we
	// dial the seed soon, and announce everything again.
	steady = time.Minute
	// tagSeed keeps the connection manager away from seeds.
	tagSeed = "swarmgate/seed"
)

// errAlone is the error of a host that knows no other host of its DHT, and has no seeds.
var errAlone = wtproto.Errorf(wtproto.CodePeerUnreachable, "no other host of the DHT is known, and no seed is configured: give others an address of this host as --dht-seed, or this host one of theirs")

// seedList decides when to connect to which host by which we may enter the DHT: configured seeds
// and hosts of the LAN. Pure accounting: it dials nobody.
//
// A host needs its seeds even if its table is not empty. A restarted seed knows nobody, so
// newcomers would find nobody there until the others come back to it.
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
	next    time.Time // we do not dial it before that
	dialing bool
	since   time.Time // when the present connection began; zero without one
	lasted  bool      // the connection before this one was steady, or there was none
	err     error     // why the last dial failed; nil after a connection
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

// sawLAN sets the hosts of the LAN.
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

// update notes the present connections. connected returns when the one with a host began, or zero.
// update reports whether a seed is connected that may not know us yet.
func (s *seedList) update(now time.Time, connected func(peer.ID) time.Time) (isNew bool) {
	for _, o := range s.all() {
		before := o.since
		if o.since = connected(o.id); o.since.Equal(before) {
			continue
		}
		if !before.IsZero() { // the connection before has ended
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

// due returns the seeds to dial now, and when to call it again at the latest.
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

// dialed notes the result of a dial. It reports whether that is news: the seed does not answer
// now, and did before, or has not been dialed before.
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

// verdict returns why we know no other host. If it is too early to say, the error is nil. Then
// again says when to call it again, if that is not zero.
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

// missing returns how many of the configured seeds do not answer, and an error that says which and
// why, nil if all answer.
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

// cure returns short advice for a seed to which we could not connect because of err.
func cure(err error) string {
	if _, ok := errors.AsType[sec.ErrPeerIDMismatch](err); ok {
		return "another host is at its address, so configure the id that is there"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name is not resolved, so correct it"
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code != wtproto.CodePeerUnreachable {
		return e.Reason // the policy forbade the dial
	}
	return "see that it runs, and that its TCP port can be reached from here"
}

// explain wraps err, with which we could not connect to a seed, with advice.
func explain(t target, err error) error {
	if e, ok := errors.AsType[sec.ErrPeerIDMismatch](err); ok {
		return fmt.Errorf("another host is at the address of the seed %s: configure it with the id %s: %w", t.id, e.Actual, err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("check the name of the seed %s: %w", t.id, err)
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Code != wtproto.CodePeerUnreachable {
		return err // the policy forbade the dial
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

// several joins errors in one line.
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
