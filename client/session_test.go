package client

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go/quicvarint"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A circuit may come before JOINED, and its first bytes with PEER.
func TestCircuitBeforeJoined(t *testing.T) {
	c, r := newSessionPair(t, nil)
	result := startJoin(deadline(t), c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	r.open(append(peer(1).Append(nil), "hello"...))
	waitPlaces(t, c, 1)
	r.send(wtproto.Joined{Topic: topicA})
	j := <-result
	if j.err != nil {
		t.Fatal(j.err)
	}
	conn := accept(t, j.topic)
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("Read = %q, %v", b, err)
	}
}

// What a stream may begin with, and what becomes of it. Nothing but malformed frames ends more than
// the stream.
func TestFirstFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		sent []byte
		want wtproto.Code
	}{
		{"a topic that was not joined", wtproto.Peer{Circuit: 1, Topic: topicB}.Append(nil), wtproto.CodeLeft},
		{"another frame", wtproto.Ping{}.Append(nil), wtproto.CodeProtocol},
		{"a frame that nobody knows", []byte{0x40, 0x99, 1, 0}, wtproto.CodeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := newSessionPair(t, nil)
			topic := r.join(c, topicA, JoinOptions{})
			s := r.open(tt.sent)
			if code := readReset(t, s); code != tt.want {
				t.Errorf("reset with %v, want %v", code, tt.want)
			}
			if code := writeStopped(t, s); code != tt.want {
				t.Errorf("stopped with %v, want %v", code, tt.want)
			}
			conn, s := r.circuit(topic, 2)
			echo(t, conn, s)
		})
	}
	for _, tt := range []struct {
		name string
		sent []byte
		want wtproto.Code
	}{
		{"PEER too short", []byte{byte(wtproto.TypePeer), 3, 1, 2, 3}, wtproto.CodeProtocol},
		{"PEER too large", quicvarint.Append([]byte{byte(wtproto.TypePeer)}, wtproto.MaxPayload+1), wtproto.CodeTooLarge},
		{"peer id too long", wtproto.Peer{Circuit: 1, Topic: topicA, ID: make([]byte, wtproto.MaxPeerID+1)}.Append(nil), wtproto.CodeTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := newSessionPair(t, nil)
			r.join(c, topicA, JoinOptions{})
			r.open(tt.sent)
			wait(t, "the end of the session", c.Done())
			wantError(t, "Err", c.Err(), tt.want, false)
			if e := r.closed(); wtproto.Code(e.ErrorCode) != tt.want {
				t.Errorf("session closed with %v, want %v", e, tt.want)
			}
		})
	}
}

// A stream that ends or is reset before a whole PEER is ignored, and freed.
func TestTruncatedPeer(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	first := peer(1).Append(nil)
	for i := range 2 * maxStreams { // more than there may be at once
		s := r.open(first[:1+i%(len(first)-1)])
		if i%2 == 0 {
			s.Close()
		} else {
			s.CancelWrite(1)
			s.CancelRead(1)
		}
		s.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadAll(s); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("stream %d: the client left it open", i)
		}
	}
	waitPlaces(t, c, 0)
	conn, s := r.circuit(topic, 2)
	echo(t, conn, s)
}

func TestCircuitTwice(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	r.circuit(topic, 1)
	r.open(peer(1).Append(nil))
	wait(t, "the end of the session", c.Done())
	wantError(t, "Err", c.Err(), wtproto.CodeProtocol, false)
}

// More circuits than the budget has room for are refused, whichever way they come, until one ends.
func TestCircuitLimit(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	conn, s := r.circuit(topic, 1)
	for id := wtproto.CircuitID(2); id <= maxCircuits; id++ {
		r.open(peer(id).Append(nil))
	}
	waitPlaces(t, c, maxCircuits)
	if code := readReset(t, r.open(peer(1000).Append(nil))); code != wtproto.CodeCircuitLimit {
		t.Errorf("circuit %d was reset with %v, want %v", maxCircuits+1, code, wtproto.CodeCircuitLimit)
	}
	r.send(peer(1001))
	if m := expect(r, wtproto.TypeDecline, wtproto.ParseDecline); m.Circuit != 1001 || m.Code != wtproto.CodeCircuitLimit {
		t.Errorf("DECLINE = %+v, want %v", m, wtproto.CodeCircuitLimit)
	}
	s.Close()
	conn.Close()
	waitPlaces(t, c, maxCircuits-1)
	r.send(peer(1002))
	if _, id := r.accepted(); id != 1002 {
		t.Errorf("ACCEPT of %d, want 1002", id)
	}
}

func TestOffer(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	r.send(peer(1))
	s, id := r.accepted()
	if id != 1 {
		t.Errorf("ACCEPT of %d, want 1", id)
	}
	conn := accept(t, topic)
	echo(t, conn, s)
	r.send(wtproto.Peer{Circuit: 2, Topic: topicB})
	if m := expect(r, wtproto.TypeDecline, wtproto.ParseDecline); m.Circuit != 2 || m.Code != wtproto.CodeLeft {
		t.Errorf("DECLINE = %+v, want circuit 2 with %v", m, wtproto.CodeLeft)
	}
	// ACCEPT came too late for the gateway, which resets the stream.
	r.send(peer(3))
	s, _ = r.accepted()
	late := accept(t, topic)
	reset(s, wtproto.CodeWithdrawn)
	_, err := late.Read(make([]byte, 1))
	wantError(t, "Read", err, wtproto.CodeWithdrawn, true)
}

// WITHDRAW ends an offer that was accepted meanwhile: one that waits is not handed out, one that
// was fails.
func TestWithdraw(t *testing.T) {
	for name, handedOut := range map[string]bool{"waiting": false, "accepted": true} {
		t.Run(name, func(t *testing.T) {
			c, r := newSessionPair(t, nil)
			topic := r.join(c, topicA, JoinOptions{})
			r.send(peer(1))
			s, _ := r.accepted()
			var conn *Conn
			if handedOut {
				conn = accept(t, topic)
			} else {
				waitPlaces(t, c, 1)
			}
			r.send(wtproto.Withdraw{Circuit: 1, Code: wtproto.CodePeerGone})
			if code := readReset(t, s); code != wtproto.CodeWithdrawn {
				t.Errorf("reset with %v, want %v", code, wtproto.CodeWithdrawn)
			}
			r.sync()
			waitPlaces(t, c, 0)
			if handedOut {
				_, err := conn.Read(make([]byte, 1))
				wantError(t, "Read", err, wtproto.CodePeerGone, true)
				_, err = conn.Write(make([]byte, 1))
				wantError(t, "Write", err, wtproto.CodePeerGone, true)
				wantError(t, "CloseWrite", conn.CloseWrite(), wtproto.CodePeerGone, true)
			}
			other, _ := r.circuit(topic, 2)
			if id := other.Peer().ID[1]; id != 2 {
				t.Errorf("accepted circuit %d, want 2", id)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{Filter: func(p Peer) bool { return p.ID[1]%2 == 0 }})
	r.send(peer(1), peer(2))
	if m := expect(r, wtproto.TypeDecline, wtproto.ParseDecline); m.Circuit != 1 || m.Code != wtproto.CodeDeclined {
		t.Errorf("DECLINE = %+v, want circuit 1 with %v", m, wtproto.CodeDeclined)
	}
	if _, id := r.accepted(); id != 2 {
		t.Errorf("ACCEPT of %d, want 2", id)
	}
	if p := accept(t, topic).Peer(); p.ID[1] != 2 {
		t.Errorf("accepted %+v", p)
	}
	// A stream may have been under way when the filter was set.
	if code := readReset(t, r.open(peer(3).Append(nil))); code != wtproto.CodeDeclined {
		t.Errorf("reset with %v, want %v", code, wtproto.CodeDeclined)
	}
}
