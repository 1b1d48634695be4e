package client_test

import (
	"io"
	"iter"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// stayed joins a topic with two clients that meet, has one of them leave, and returns its client
// and both ends of the circuit, which stays, and the topic of the other.
func stayed(t *testing.T) (c *client.Client, near, far *client.Conn, other *client.Topic) {
	t.Helper()
	gw := startGateway(t, server.Config{})
	other = join(t, gw, client.JoinOptions{})
	top, c := joinWith(t, gw, client.JoinOptions{})
	near, far = first(t, top), first(t, other)
	if err := top.Leave(limited(t)); err != nil {
		t.Fatal(err)
	}
	return c, near, far, other
}

// A client that left a topic and joined it again was alone: the circuit with its peer had stayed,
// so there was no other one, and the new Topic did not know of it.
func TestRejoinFindsWhoStayed(t *testing.T) {
	c, near, far, other := stayed(t)
	top, err := c.Join(limited(t), streamsTopic, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p := joined(t, top); p.String() != near.Peer().String() {
		t.Errorf("joined: %v, want %v", p, near.Peer())
	}
	if _, err := top.Open(limited(t), near.Peer()); err == nil {
		t.Error("Open reaches a peer that takes no streams")
	}
	if err := top.Leave(limited(t)); err != nil { // once more
		t.Fatal(err)
	}
	if top, err = c.Join(limited(t), streamsTopic, client.JoinOptions{}); err != nil {
		t.Fatal(err)
	}
	event, stop := iter.Pull(top.Events(limited(t))) // before the peer leaves, which is quick
	defer stop()
	var here client.PeerJoined
	for there := false; !there; {
		e, ok := event()
		if !ok {
			t.Fatal("nobody has joined")
		}
		here, there = e.(client.PeerJoined)
	}
	if err := other.Leave(limited(t)); err != nil { // else the gateway connects the two again at once
		t.Fatal(err)
	}
	go io.Copy(io.Discard, near)
	far.Reset(wtproto.CodeApplication)
	for e, ok := event(); ok; e, ok = event() {
		if left, is := e.(client.PeerLeft); is && left.Peer.String() == here.Peer.String() {
			return
		}
	}
	t.Error("the peer did not leave with the circuit that had stayed")
}

// Circuits that this end has closed, and peers that the new options do not want, do not count.
func TestRejoinWithoutWhoStayed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		close bool
		opts  client.JoinOptions
	}{
		{name: "closed", close: true},
		{name: "another filter", opts: client.JoinOptions{Filter: func(client.Peer) bool { return false }}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, near, _, _ := stayed(t)
			if tt.close {
				near.Close()
			}
			top, err := c.Join(limited(t), streamsTopic, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if peers := top.Peers(); len(peers) != 0 {
				t.Errorf("Peers = %v, want nobody", peers)
			}
		})
	}
}
