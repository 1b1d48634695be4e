package main

import (
	"context"
	"iter"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/wtproto"
)

// memberConn is a circuit with a peer of a topic, a plain one or a sealed one.
type memberConn interface {
	circuit
	Peer() client.Peer
}

// meeting is a topic that was joined through a gateway. In a secret room all its circuits are
// sealed.
type meeting struct {
	topic *client.Topic // for what it tells, not for circuits
	room  *secret.Topic // nil unless the topic is that of a secret room
}

// joinMeeting joins a topic. The caller closes the meeting.
func joinMeeting(ctx context.Context, c *client.Client, t topicArg, opts client.JoinOptions) (*meeting, error) {
	if t.secret == nil {
		topic, err := c.Join(ctx, t.Topic, opts)
		if err != nil {
			return nil, err
		}
		return &meeting{topic: topic}, nil
	}
	room, err := t.room()
	if err != nil {
		return nil, err
	}
	joined, err := room.Join(ctx, c, opts)
	if err != nil {
		return nil, err
	}
	return &meeting{topic: joined.Topic(), room: joined}, nil
}

// close leaves the topic. Circuits that were accepted go on.
func (m *meeting) close() {
	if m.room != nil {
		m.room.Close()
	}
	m.topic.Close()
}

// key is the key of this end in a secret room, empty elsewhere.
func (m *meeting) key() string {
	if m.room == nil {
		return ""
	}
	return m.room.Room().Key().String()
}

// conns returns the circuits that come, as [client.Topic.Conns] does.
func (m *meeting) conns(ctx context.Context) iter.Seq2[memberConn, error] {
	return func(yield func(memberConn, error) bool) {
		if m.room != nil {
			for c, err := range m.room.Conns(ctx) {
				if !yield(c, err) {
					return
				}
			}
			return
		}
		for c, err := range m.topic.Conns(ctx) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// dial opens a circuit with a peer that takes one.
func (m *meeting) dial(ctx context.Context) (memberConn, error) {
	dial := m.topic.DialContext
	if m.room != nil {
		dial = m.room.DialContext
	}
	c, err := dial(ctx, "", "")
	if err != nil {
		return nil, err
	}
	return c.(memberConn), nil
}

// infoOf describes the peer of a circuit.
func infoOf(c memberConn) peerInfo {
	p := infoOfPeer(c.Peer())
	if sealed, ok := c.(*secret.Conn); ok {
		p.Key = sealed.Key().String()
	}
	return p
}

// endpointOf returns what stays the same of a client in all its sessions, at whatever gateway.
func endpointOf(p client.Peer) (id wtproto.EndpointID) {
	if n := len(p.ID); n >= len(id) {
		copy(id[:], p.ID[n-len(id):])
	}
	return id
}
