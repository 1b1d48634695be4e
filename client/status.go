package client

import (
	"fmt"
	"slices"
	"strings"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Session is what a gateway said when it let the client in.
type Session struct {
	Gateway     string            // as it was given to [Dial] or in [Config.Gateways], without a topic
	Transport   string            // [TransportQUIC] or [TransportWebSocket]
	ID          wtproto.SessionID // a random name, for people and logs
	Agent       string            // the gateway's program, for people
	Version     int               // of the protocol
	MaxTopics   int               // that may be joined at once; 0 for no limit
	MaxCircuits int               // that may be there at once; 0 for no limit
	CertHashes  [][32]byte        // of the gateway's pinned certificates: current, next. Empty with an authority's
}

// newSessionInfo returns what WELCOME of the gateway with this name says, which came over a
// transport.
func newSessionInfo(name, transport string, m wtproto.Welcome) Session {
	return Session{
		Gateway: name, Transport: transport, ID: m.Session, Agent: m.Agent, Version: toInt(m.Version),
		MaxTopics: toInt(m.MaxTopics), MaxCircuits: toInt(m.MaxCircuits), CertHashes: m.Hashes,
	}
}

// Status is what the gateway knows of a topic. It is a [TopicEvent] too.
type Status struct {
	Known     int  // others on the topic
	More      bool // Known is a lower bound
	Connected int  // circuits that the client has on the topic, further ones too
	Networks  []NetworkStatus
}

// NetworkStatus is how it goes on one of the networks that a topic is on.
type NetworkStatus struct {
	Name       string               // "dht", "lan", "static", [wtproto.NetworkClient]
	State      wtproto.NetworkState // whether it works
	Found      int                  // peers remembered
	Connecting int                  // of them, those that are being dialed
	Refused    int                  // of them, those whose last dial failed
	LastCode   wtproto.Code         // why the last attempt of the network, or the last dial of a peer of it, failed
	Reason     string               // why nobody may be found, or find the client, and what can be done, for people
}

// String returns s in a line for people, such as "3 known, 1 connected; dht searching; lan failing:
// no interface".
func (s Status) String() string {
	var b strings.Builder
	more := ""
	if s.More {
		more = "at least "
	}
	fmt.Fprintf(&b, "%s%d known, %d connected", more, s.Known, s.Connected)
	for _, n := range s.Networks {
		fmt.Fprintf(&b, "; %s %v", n.Name, n.State)
		if n.Reason != "" {
			fmt.Fprintf(&b, ": %s", n.Reason)
		}
	}
	return b.String()
}

func newStatus(m wtproto.Status) Status {
	s := Status{Known: toInt(m.Known), More: m.More, Connected: toInt(m.Connected)}
	for _, n := range m.Networks {
		s.Networks = append(s.Networks, NetworkStatus{
			Name: n.Name, State: n.State, Found: toInt(n.Found), Connecting: toInt(n.Connecting),
			Refused: toInt(n.Refused), LastCode: n.LastCode, Reason: n.Reason,
		})
	}
	return s
}

// clone returns a copy that shares no memory with s.
func (s Status) clone() Status {
	s.Networks = slices.Clone(s.Networks)
	return s
}

// toInt returns a number of the wire, which may be larger than any that makes sense.
func toInt(n uint64) int { return int(min(n, 1<<31-1)) }
