package p2p

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// contact is what a topic knows of another host: a state machine without I/O and without a clock.
// Each method is an event. It changes the state and returns what the topic has to do about it.
//
//	     asked             accepted, welcomed
//	apart ────► asking ─────────────────────► meeting
//	  ▲            │ failed                      │ parted
//	  └────────────┴─────────────────────────────┘
//
// The host may send MEET at any time, so a meeting can begin although we are still asking, or have
// not asked. During a meeting we may ask once more, to tell the host that we found it.
type contact struct {
	meeting bool // the two have met, PROTOCOL section 11
	weFound bool // we found it, in the DHT for example
	foundUs bool // it found us

	asking     bool      // our MEET is under way
	guessed    bool      // that MEET answers a GUESS of the host
	informed   bool      // it knows that we found it; only during a meeting
	informedAt time.Time // when we last sent MEET to say so
	left       bool      // it has left the topic, or refused because it is leaving
	hadCircuit bool      // there were circuits with it

	failure  error // why our last MEET failed; nil during a meeting
	failedAt time.Time
	full     bool // failure only says that the host had no room

	run       wtproto.Run // of its program; what follows is of that run
	gateway   bool
	endpoints map[wtproto.EndpointID]bool // as far as we know, with or without a meeting
	state     wtproto.EndpointsState      // their last known state
}

// effects are the effects of an event, in the order in which to apply them.
type effects struct {
	gone   []wtproto.EndpointID // these endpoints have left
	seen   []wtproto.EndpointID // these are there, as far as we know
	holds  time.Duration        // how long seen holds
	report bool                 // the trouble of the topic may have changed
}

// failureKind says what the topic does about a failed MEET.
type failureKind int

const (
	failureIgnored  failureKind = iota // nothing: the meeting goes on
	failureExpected                    // log at debug level
	failureFull                        // log at debug level, and report
	failureNew                         // log, and report
	failureRepeated                    // report
)

// needs reports whether some of the host's clients need a circuit.
func (c *contact) needs() bool { return c.meeting && c.state&wtproto.EndpointsNeed != 0 }

// found says that we found the host. Only during a meeting that is news: at other times the topic
// asks the host first.
func (c *contact) found(hold time.Duration) effects {
	if !c.meeting || c.weFound {
		return effects{}
	}
	c.weFound = true
	return effects{seen: c.all(), holds: hold}
}

// inform reports whether the topic has to send MEET now, so that the host learns that we found it.
func (c *contact) inform(now time.Time) bool {
	if c.informed || c.asking || !c.weFound || now.Sub(c.informedAt) < settled {
		return false
	}
	c.informedAt = now
	return true
}

// answersGuess reports whether the topic should answer the host's GUESS with MEET.
func (c *contact) answersGuess() bool { return !(c.foundUs && c.meeting) && !c.asking }

// asked says that the topic sends MEET, to answer a GUESS or because we found the host. It returns
// the flags of MEET.
func (c *contact) asked(answersGuess bool) wtproto.MeetFlags {
	c.asking = true
	c.guessed = c.guessed || answersGuess
	if c.guessed {
		return wtproto.MeetGuessed
	}
	return 0
}

// failed says that our MEET was refused with code, or could not be sent. If quiet is set, the
// reason is only that the host has no room.
func (c *contact) failed(err error, code wtproto.Code, quiet bool, now time.Time) failureKind {
	guessed := c.guessed
	c.asking, c.guessed = false, false
	switch {
	case c.meeting: // the MEET was only to inform the host
		return failureIgnored
	case code == wtproto.CodeLeft, code == wtproto.CodeShutdown:
		c.left = true
		return failureExpected
	case c.left, guessed:
		return failureExpected
	}
	kind := failureRepeated
	if quiet {
		kind = failureFull
	} else if text(err) != text(c.failure) {
		kind = failureNew
	}
	c.failure, c.failedAt, c.full = err, now, quiet
	return kind
}

// welcomed says that we accepted the host's MEET. With weFound, that MEET answers our GUESS.
func (c *contact) welcomed(weFound bool, e wtproto.Endpoints, hold time.Duration) effects {
	return c.begin(weFound, e, hold)
}

// accepted says that the host accepted our MEET.
func (c *contact) accepted(e wtproto.Endpoints, hold time.Duration) effects {
	weFound := !c.guessed
	c.asking, c.guessed = false, false
	return c.begin(weFound, e, hold)
}

// begin begins the meeting, or goes on with it.
func (c *contact) begin(weFound bool, e wtproto.Endpoints, hold time.Duration) effects {
	if weFound {
		c.weFound, c.informed = true, true
	} else {
		c.foundUs = true
	}
	c.meeting, c.failure, c.left = true, nil, false
	return effects{gone: c.replace(e), seen: c.all(), holds: hold, report: true}
}

// renewed says in which run the host's program is, and whether it is a gateway. A new run knows
// nothing of the one before.
func (c *contact) renewed(run wtproto.Run, gateway bool) effects {
	c.gateway = gateway
	if c.run == run {
		return effects{}
	}
	c.run = run
	return c.forget()
}

// reborn says that the host's program has started anew. It does nothing during a meeting, which is
// a meeting with the new run.
func (c *contact) reborn() effects {
	if c.meeting {
		return effects{}
	}
	return c.forget()
}

// forget drops what belongs to one run of the host's program.
func (c *contact) forget() effects {
	c.weFound, c.foundUs = false, false
	return effects{gone: c.replace(wtproto.Endpoints{})}
}

// updated says which endpoints the host has now. It reports endpoints that it had before only if
// their state has changed.
func (c *contact) updated(e wtproto.Endpoints, hold time.Duration) effects {
	before, state := c.endpoints, c.state
	do := effects{gone: c.replace(e), holds: hold}
	for id := range c.endpoints {
		if !before[id] || c.state != state {
			do.seen = append(do.seen, id)
		}
	}
	return do
}

// parted says that the meeting is over. With LEFT the host has left the topic, and its endpoints
// have. With PEER_GONE its link was lost. With another code one of us let the other go; if there
// were circuits then, the endpoints are remembered for longer. Else these circuits would be opened
// anew when the two meet again.
func (c *contact) parted(code wtproto.Code, hold time.Duration) effects {
	c.meeting, c.failure, c.informed, c.asking = false, nil, false, false
	do := effects{holds: min(lostHold, hold), report: true}
	if code == wtproto.CodeLeft {
		do.gone = c.replace(wtproto.Endpoints{})
		c.weFound, c.foundUs, c.left, c.hadCircuit = false, false, true, false
	}
	if c.hadCircuit && code != wtproto.CodePeerGone {
		do.holds = partedFor
	}
	do.seen = c.all()
	return do
}

// circuitOpened says that there is a circuit with the host.
func (c *contact) circuitOpened() { c.hadCircuit = true }

// replace sets the host's endpoints, and ignores those that it cannot have: a native peer has one
// of 16 zero bytes, and a gateway only others. It returns those that have left. A missing endpoint
// has left unless the host has more than it lists.
func (c *contact) replace(e wtproto.Endpoints) (gone []wtproto.EndpointID) {
	before := c.endpoints
	c.state = e.State
	c.endpoints = make(map[wtproto.EndpointID]bool, len(e.Endpoints))
	for _, id := range e.Endpoints {
		if native := id == (wtproto.EndpointID{}); native != c.gateway {
			c.endpoints[id] = true
		}
	}
	if e.State&wtproto.EndpointsMore != 0 {
		return nil
	}
	for id := range before {
		if !c.endpoints[id] {
			gone = append(gone, id)
		}
	}
	return gone
}

// all returns the host's endpoints, in any order.
func (c *contact) all() (ids []wtproto.EndpointID) {
	for id := range c.endpoints {
		ids = append(ids, id)
	}
	return ids
}
