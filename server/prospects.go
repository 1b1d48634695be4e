package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is why a client that is connected with nobody on a topic finds nobody, though its
// networks work: what it does and what others do, its token, and limits. The words go to STATUS,
// and counted to operators.

// roles counts endpoints by what they may be found for. The zero value has none.
type roles struct{ announce, lookUp, both, neither int }

// add counts n endpoints more.
func (r *roles) add(announces, looksUp bool, n int) {
	switch {
	case announces && looksUp:
		r.both += n
	case announces:
		r.announce += n
	case looksUp:
		r.lookUp += n
	default:
		r.neither += n
	}
}

func (r roles) all() int { return r.announce + r.lookUp + r.both + r.neither }

// matching returns how many of r an endpoint may be connected with.
func (r roles) matching(announces, looksUp bool) (n int) {
	if announces || looksUp {
		n = r.both
	}
	if announces {
		n += r.lookUp
	}
	if looksUp {
		n += r.announce
	}
	return n
}

// prospects is what a client that is connected with nobody could be connected with, on one
// network: the zero value is one that neither announces nor looks up, and nobody else.
type prospects struct {
	announces, looksUp     bool
	denied                 bool  // its token forbids what it does not do of these
	others                 roles // endpoints that it may be connected with as far as networks and tokens go
	barred                 int   // clients that do not want the network, or whose tokens forbid it
	tried                  int   // of those that match, those with which it has had to do
	ended                  int   // of these, those whose circuit has ended, or that wanted none
	declined               int   // of these, those that it has declined itself, as a client does that only watches
	itself                 int   // those that have its own endpoint id
	full, resting, another bool  // no place for circuits is left; too many dials have failed; others have joined somewhere
	nowhere                bool  // the gateway has no network
	early                  bool  // it has joined just now
}

// lonelyAfter is how long after its JOIN a client is told that there is nobody else: others come
// in the first moments.
const lonelyAfter = 2 * time.Second

// Reasons of a client that is connected with nobody.
const (
	reasonLeftOut       = "the token of this client leaves the network out: give it one whose networks have it"
	reasonOthersLeftOut = "the other clients here meet none of this gateway, by their tokens or their choice: let them have the network client"

	reasonNeither      = "this client neither announces nor looks up, so it meets nobody: join to do one of both"
	reasonBothLookUp   = "all that are known here only look up, as this client does: have one side announce too"
	reasonBothAnnounce = "all that are known here only announce, as this client does: have one side look up too"
	reasonMayNotLookUp = "all that are known here only announce, and the token of this client forbids it to look up: give it another one, or have others look up"
	reasonMayNotTell   = "all that are known here only look up, and the token of this client forbids it to announce: give it another one, or have others announce"

	reasonAlone       = "nobody else has joined the topic, here or where the gateway looks: compare what swarm topic NAME prints on both sides, and see that they share a gateway or a network"
	reasonAloneHere   = "nobody else has joined the topic, and the gateway looks nowhere else: compare what swarm topic NAME prints on both sides, or give the gateway a network (--dht, --lan, --static)"
	reasonNoAnnouncer = "nobody who announces the topic is known, and this client only looks up: have the other side announce, and compare what swarm topic NAME prints on both"
	reasonNoSearcher  = "nobody who looks the topic up has come, and this client only announces: have the other side look up, and compare what swarm topic NAME prints on both"

	reasonFull     = "no place for a circuit is left: end circuits of this client, or raise --max-circuits or the limit of its token"
	reasonResting  = "too many dials have failed lately: wait; what does not answer is at /api/topics"
	reasonSame     = "the client that was found has this one's secret: give each its own"
	reasonMetAll   = "all circuits with those that are known here have ended: join anew, on either side, to be connected again"
	reasonOthersGo = "the other clients have as many circuits as they want: raise their max peers, or wait until one leaves"

	reasonOthersAnnounce = "the other clients here only announce, so they do not meet each other: have one look up too"
	reasonOthersLookUp   = "the other clients here only look up, so they do not meet each other: have one announce too"
)

// client returns why there is no circuit with another client of this gateway, "" if nothing is
// wrong.
func (p *prospects) client() string {
	switch n := p.others.matching(p.announces, p.looksUp); {
	case !p.announces && !p.looksUp:
		return reasonNeither
	case p.full:
		return reasonFull
	case p.others.all() == 0 && p.barred > 0:
		return reasonOthersLeftOut
	case p.others.all() == 0 && p.another:
		return "" // its network says more
	case p.others.all() == p.others.neither && p.early:
		return ""
	case p.others.all() == p.others.neither:
		return p.alone()
	case n == 0:
		return p.mismatch()
	case n > p.tried:
		return reasonOthersGo
	case n > 1 && p.declined >= n && p.others.all() == p.others.announce:
		return reasonOthersAnnounce
	case n > 1 && p.declined >= n && p.others.all() == p.others.lookUp:
		return reasonOthersLookUp
	case p.ended > 0 && p.ended >= n:
		return reasonMetAll
	}
	return ""
}

// peers returns why there is no circuit with a peer of a network on which nobody has failed to
// answer.
func (p *prospects) peers() string {
	n := p.others.matching(p.announces, p.looksUp)
	switch {
	case p.others.all() == 0, !p.announces && !p.looksUp: // client has said so
		return ""
	case n == 0:
		return p.mismatch()
	case p.full:
		return reasonFull
	case p.resting:
		return reasonResting
	case n <= p.itself:
		return reasonSame
	case p.ended > 0 && p.ended >= n-p.itself:
		return reasonMetAll
	}
	return ""
}

// alone returns what to say if nobody else is on the topic.
func (p *prospects) alone() string {
	switch {
	case p.nowhere:
		return reasonAloneHere
	case !p.announces:
		return reasonNoAnnouncer
	case !p.looksUp:
		return reasonNoSearcher
	}
	return reasonAlone
}

// mismatch returns what to say if all others do what this client does, and only that.
func (p *prospects) mismatch() string {
	switch {
	case p.announces && p.denied:
		return reasonMayNotLookUp
	case p.announces:
		return reasonBothAnnounce
	case p.denied:
		return reasonMayNotTell
	}
	return reasonBothLookUp
}

// countRole counts n times s by what it may be found for by other clients of this gateway.
func (t *topic) countRole(s *subscription, n int) {
	if s.meets(wtproto.NetworkClient) {
		t.here.add(s.announces(), s.looksUp(), n)
	} else {
		t.barred += n
	}
}

// prospects returns whom s could be connected with: peers of v, or other clients of this gateway
// if v is nil. s has no circuit.
func (t *topic) prospects(s *subscription, v *networkView) (p prospects) {
	g := &s.session.grant
	p.announces, p.looksUp = s.announces(), s.looksUp()
	p.denied = !p.announces && g.DenyAnnounce || !p.looksUp && g.DenyLookUp
	p.full, p.resting = s.full != nil, s.resting
	if v != nil {
		p.others = v.roles
		for host := range t.gateways {
			if o := t.peers[host+string(s.session.endpoint[:])]; o != nil && o.network == v {
				p.itself++
			}
		}
	} else {
		p.others, p.barred = t.here, t.barred
		p.others.add(p.announces, p.looksUp, -1)
		p.nowhere, p.early = len(t.networks) == 0, t.now.Before(s.since.Add(lonelyAfter))
		p.another = t.visible(s) > uint64(t.neighbors())
	}
	for _, pr := range s.pairs {
		if pr.peer != nil && pr.peer.network == v || pr.peer == nil && v == nil {
			p.tried++
			switch {
			case pr.state != pairEnded:
			case pr.wasOpen || !s.offerOnly():
				p.ended++
			default:
				p.declined++
			}
		}
	}
	return p
}

// leftOut is a network that the token of a client leaves out.
func leftOut(name string) wtproto.NetworkStatus {
	return wtproto.NetworkStatus{Name: name, State: wtproto.NetworkEnded, LastCode: wtproto.CodeForbidden, Reason: reasonLeftOut}
}

// networksOf returns what s is told of the networks, of which all is what is the same for
// everybody.
func (t *topic) networksOf(s *subscription, all []wtproto.NetworkStatus) []wtproto.NetworkStatus {
	if s.taken > 0 && s.meetsAll() {
		return all
	}
	wants := func(name string) bool { return s.networks == nil || slices.Contains(s.networks, name) }
	out := make([]wtproto.NetworkStatus, 0, len(all)+1)
	for i, n := range all {
		switch {
		case !wants(n.Name):
			continue
		case i == len(t.networks): // of clients that are kept apart
		case !s.session.grant.AllowsNetwork(n.Name):
			n = leftOut(n.Name)
		case n.Reason == "" && s.taken == 0:
			p := t.prospects(s, t.networks[i])
			n.Reason = p.peers()
		}
		out = append(out, n)
	}
	if t.router.cfg.IsolateClients || !wants(wtproto.NetworkClient) || len(out) >= wtproto.MaxNetworks {
		return out
	}
	if !s.session.grant.AllowsNetwork(wtproto.NetworkClient) {
		return append(out, leftOut(wtproto.NetworkClient))
	}
	if s.taken > 0 || !s.meets(wtproto.NetworkClient) {
		return out
	}
	p := t.prospects(s, nil)
	if words := p.client(); words != "" {
		out = append(out, wtproto.NetworkStatus{
			Name: wtproto.NetworkClient, State: wtproto.NetworkSearching, Found: uint64(p.others.all()), Reason: words,
		})
	}
	return out
}

// reported returns what operators are told of the networks: of one that has no reason of its own,
// what most clients are told that are told one.
func (t *topic) reported() []wtproto.NetworkStatus {
	all := t.networkStatuses()
	told := make(map[string]map[string]int) // how many clients, by network and reason
	for _, s := range t.subs {
		for _, n := range t.networksOf(s, all) {
			if told[n.Name] == nil {
				told[n.Name] = make(map[string]int)
			}
			told[n.Name][n.Reason]++
		}
	}
	most := func(network string) string {
		reasons := told[network]
		delete(reasons, "")
		words := slices.Sorted(maps.Keys(reasons))
		if len(words) == 0 {
			return ""
		}
		reason := slices.MaxFunc(words, func(a, b string) int { return cmp.Compare(reasons[a], reasons[b]) })
		return fmt.Sprintf("%d of %d clients: %s", reasons[reason], len(t.subs), reason)
	}
	for i := range all {
		if all[i].Reason == "" {
			all[i].Reason = most(all[i].Name)
		}
	}
	if words := most(wtproto.NetworkClient); words != "" && !t.router.cfg.IsolateClients {
		all = append(all, wtproto.NetworkStatus{
			Name: wtproto.NetworkClient, State: wtproto.NetworkSearching, Found: uint64(t.here.all()), Reason: words,
		})
	}
	return all
}
