package server

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file says why no peer is found, in words that name the cure: with all details for
// operators, and short for clients, without addresses unless these are shown.

// Reasons that are not the errors of a network.
const (
	reasonQueued    = "it works, and has much to look for: this topic waits for its turn"
	reasonBefore    = "its peers could not be reached a while ago: they are tried again"
	reasonEnded     = "the network gave up on the topic: join again, and if that does not help, start the gateway again"
	reasonNoStreams = "the peer takes no further streams: it has to say that they are welcome when it joins"
	reasonIsolated  = "the gateway connects none of its clients with each other (--no-connect-clients): they meet peers of other networks only"
)

// remoteReasons say what a peer's own code means, which is all that it gives.
var remoteReasons = map[wtproto.Code]string{
	wtproto.CodeInternal:        "the peer has a fault: see its log",
	wtproto.CodeProtocol:        "the peer does not understand the protocol: use the same version of both programs",
	wtproto.CodeVersion:         "the peer speaks another version of the protocol: update the older program",
	wtproto.CodeForbidden:       "the host is not on the topic, or may not be: join the topic there too, by the same name",
	wtproto.CodeTopicLimit:      "the host shares too many topics with the gateway: leave some",
	wtproto.CodeCircuitLimit:    "the peer has as many circuits as it takes: end some, or raise its limit",
	wtproto.CodeRateLimited:     "the peer was asked too often: it is asked again later",
	wtproto.CodeBusy:            "the peer has no room for more: raise its --max-peers, or wait until another one leaves",
	wtproto.CodeShutdown:        "the peer's program is being ended: it is tried again",
	wtproto.CodePeerGone:        "the connection with the peer was lost: it is tried again",
	wtproto.CodePeerUnreachable: "the endpoint is not there any more: it may join again",
	wtproto.CodePeerReset:       "the peer ended the connection without a reason: check that it is the right program",
	wtproto.CodeDeclined:        "the peer wants no circuit with this client: join anew, on either side, to ask again",
	wtproto.CodeLeft:            "the peer has left the topic: join it there again",
}

// ownReasons say what an error means that says nothing itself.
var ownReasons = map[wtproto.Code]string{
	wtproto.CodePeerGone:  "the connection with the peer was lost: it is tried again",
	wtproto.CodePeerReset: "the peer ended the connection: check that it is the right program",
}

// reasonFor returns, for clients, how err keeps peers from being found. It names no addresses
// unless show is set.
func reasonFor(err error, show bool) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*wtproto.Error](err)
	text := ""
	switch {
	case !ok:
		text = "the gateway has a fault: its log and /api/topics say more"
	case e.Remote:
		text = remoteReasons[e.Code]
	case e.Reason == "":
		text = ownReasons[e.Code]
	default:
		text = e.Reason
	}
	if text == "" {
		text = e.Code.String()
	}
	if !show {
		text = withoutAddresses(text)
	}
	return clip(text, wtproto.MaxNetworkReason)
}

// detail returns all of err for operators: its chain, and before it the words that clients see,
// unless the chain has them.
func detail(err error) string {
	if err == nil {
		return ""
	}
	const most = 1024 // a peer may have had part in it
	text := err.Error()
	if _, ok := errors.AsType[*wtproto.Error](err); !ok {
		return clip(text, most)
	}
	if words := reasonFor(err, true); !strings.Contains(text, words) {
		text = words + ": " + text
	}
	return clip(text, most)
}

// withoutAddresses returns s with its IP addresses, ranges and multiaddrs replaced by words.
func withoutAddresses(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		bare := strings.Trim(w, ",;.()\"")
		bare = strings.TrimSuffix(bare, ":")
		if kind := addressKind(bare); kind != "" {
			words[i] = strings.Replace(w, bare, kind, 1)
		}
	}
	return strings.Join(words, " ")
}

// addressKind returns the word for w if addresses are hidden, or "" if w is not an address.
func addressKind(w string) string {
	rest := strings.TrimPrefix(w, "tcp://")
	if _, err := netip.ParsePrefix(rest); err == nil {
		return "a range"
	}
	if _, err := netip.ParseAddrPort(rest); err == nil {
		return "an address"
	}
	if _, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		return "an address"
	}
	for _, begin := range []string{"tcp://", "/ip4/", "/ip6/", "/dns"} {
		if strings.HasPrefix(w, begin) {
			return "an address"
		}
	}
	return ""
}

// fault is why something failed.
type fault struct{ words, all string } // for clients, and for operators

// reason returns why nobody may be found on v, for clients and for operators.
func (v *networkView) reason() (words, all string) {
	switch {
	case v.state == wtproto.NetworkFailing:
		return v.fault.words, v.fault.all
	case v.refused > 0 && v.dialFault == nil:
		return reasonBefore, reasonBefore
	case v.refused > 0:
		return v.dialFault.words, v.dialFault.all
	case v.state == wtproto.NetworkQueued:
		return reasonQueued, reasonQueued
	case v.state == wtproto.NetworkEnded:
		return reasonEnded, reasonEnded
	}
	return v.note, v.note
}

// isolated is the network of a gateway's own clients, if these are kept apart.
var isolated = wtproto.NetworkStatus{
	Name: wtproto.NetworkClient, State: wtproto.NetworkEnded, LastCode: wtproto.CodeForbidden, Reason: reasonIsolated,
}
