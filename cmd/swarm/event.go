package main

import (
	"encoding/hex"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// event is a line of --json. Which members there are depends on Event.
type event struct {
	// Event is gateway, joined, share, listening, found, gone, waiting, refused, peer, data, end,
	// sent, received, status, disconnected, reconnecting, connected, left or error.
	Event     string         `json:"event"`
	Transport string         `json:"transport,omitempty"` // of the session: quic or websocket
	Topic     string         `json:"topic,omitempty"`
	URL       string         `json:"url,omitempty"`     // what to tell others, so that they find the topic
	Address   string         `json:"address,omitempty"` // of the TCP listener, or of its client
	Circuit   int            `json:"circuit,omitempty"` // counts the peers, from 1
	Peer      *peerInfo      `json:"peer,omitempty"`
	Key       string         `json:"key,omitempty"`  // static key of this end in a secret room
	Data      []byte         `json:"data,omitempty"` // in base64
	Sent      *int64         `json:"sent,omitempty"` // bytes
	Received  *int64         `json:"received,omitempty"`
	Name      string         `json:"name,omitempty"` // of a file or a topic, or a code
	Size      *int64         `json:"size,omitempty"` // in bytes
	SHA256    string         `json:"sha256,omitempty"`
	Code      string         `json:"code,omitempty"`
	Message   string         `json:"message,omitempty"`
	Attempt   int            `json:"attempt,omitempty"` // counts the attempts to reconnect, from 1
	Delay     *int64         `json:"delay,omitempty"`   // before it, in milliseconds
	Status    *topicStatus   `json:"status,omitempty"`
	Gateway   *gatewayStatus `json:"gateway,omitempty"`
}

// topicStatus is STATUS.
type topicStatus struct {
	Known     int             `json:"known"`
	More      bool            `json:"more"` // Known is a lower bound
	Connected int             `json:"connected"`
	Networks  []networkStatus `json:"networks"`
}

type networkStatus struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	Found      int    `json:"found"`
	Connecting int    `json:"connecting"`
	Refused    int    `json:"refused"`
	LastCode   string `json:"last_code"`
	Reason     string `json:"reason,omitempty"` // why there may be no peers, and what can be done
}

// gatewayStatus is what a gateway says of itself.
type gatewayStatus struct {
	Agent       string                  `json:"agent"`
	Version     int                     `json:"version"`   // of the protocol
	Transport   string                  `json:"transport"` // quic or websocket
	Certificate wtproto.CertificateInfo `json:"certificate"`
	MaxTopics   int                     `json:"max_topics"` // 0 for no limit
	MaxCircuits int                     `json:"max_circuits"`
}

func statusEvent(topic wtproto.Topic, m client.Status) event {
	s := &topicStatus{Known: m.Known, More: m.More, Connected: m.Connected, Networks: make([]networkStatus, len(m.Networks))}
	for i, n := range m.Networks {
		s.Networks[i] = networkStatus{
			Name: n.Name, State: n.State.String(), Found: n.Found, Connecting: n.Connecting, Refused: n.Refused, LastCode: n.LastCode.String(), Reason: n.Reason,
		}
	}
	return event{Event: "status", Topic: topic.String(), Status: s}
}

// readyLine is what the command prints first with --json.
type readyLine struct {
	Topic string   `json:"topic"`
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// readyEvent is r as an event.
func readyEvent(r readyLine, topic topicArg) event {
	return event{Event: "ready", Topic: r.Topic, Name: topic.label(), Peer: &peerInfo{ID: hex.EncodeToString([]byte(r.ID)), Host: r.ID}}
}
