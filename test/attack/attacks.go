package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// handshakes opens connections as fast as it can, and drops each at once.
func handshakes(ctx context.Context, t target) {
	d := t.newDialer()
	keep(ctx, 64, func() {
		conn, err := d.connect(ctx, wtproto.ALPN)
		t.tally.count(err)
		if err == nil {
			conn.CloseWithError(0, "")
		}
	})
}

// visits keeps as many connections as it can that never say HELLO.
func visits(ctx context.Context, t target) { hold(ctx, t, wtproto.ALPN) }

// webVisits keeps as many HTTP/3 connections as it can that never ask for a session.
func webVisits(ctx context.Context, t target) { hold(ctx, t, http3.NextProtoH3) }

func hold(ctx context.Context, t target, protocol string) {
	d := t.newDialer()
	keep(ctx, 200, func() {
		conn, err := d.connect(ctx, protocol)
		t.tally.count(err)
		if err != nil {
			return
		}
		select {
		case <-conn.Context().Done():
		case <-ctx.Done():
		}
	})
}

// sessions opens as many sessions as it is given, and holds them.
func sessions(ctx context.Context, t target) {
	d := t.newDialer()
	keep(ctx, 200, func() {
		s, err := d.open(ctx)
		t.tally.count(err)
		if err == nil {
			s.discard()
		}
	})
}

// firstFrames opens all streams that it may, each with the beginning of a frame that announces 16
// KiB.
func firstFrames(ctx context.Context, t target) {
	all := t.openAll(ctx, 256)
	each(ctx, all, func(s *session) error {
		str, err := s.conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		_, err = str.Write([]byte{byte(wtproto.TypeAccept), 0x7f, 0xff, 0x01})
		t.tally.count(err)
		return err
	})
}

// streams opens streams and resets them at once.
func streams(ctx context.Context, t target) {
	all := t.openAll(ctx, 16)
	each(ctx, all, func(s *session) error {
		str, err := s.conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		str.Write([]byte{byte(wtproto.TypeAccept)})
		str.CancelWrite(0)
		str.CancelRead(0)
		t.tally.count(nil)
		return nil
	})
}

// frames floods control streams with frames that ask for nothing. Where the session is ended it
// comes back.
func frames(ctx context.Context, t target) {
	var flood []byte
	for range 512 {
		flood = append(flood, 0x3e, 0) // a type that nobody knows
		flood = wtproto.Pong{}.Append(flood)
	}
	d := t.newDialer()
	keep(ctx, 16, func() {
		s, err := d.open(ctx)
		t.tally.count(err)
		if err != nil {
			return
		}
		go s.discard()
		for s.send(flood) == nil {
			t.tally.done.Add(1024)
		}
	})
}

// framesPaced sends as many frames as a session may, on as many sessions as it may have.
func framesPaced(ctx context.Context, t target) {
	var tenth []byte
	for range 90 {
		tenth = wtproto.Pong{}.Append(tenth)
	}
	all := t.openAll(ctx, 256)
	for _, s := range all {
		go s.discard()
	}
	each(ctx, all, func(s *session) error {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		err := s.send(tenth)
		t.tally.count(err)
		return err
	})
}

// pingsUnread floods control streams with PING and reads no answer.
func pingsUnread(ctx context.Context, t target) {
	var flood []byte
	for range 90 {
		flood = wtproto.Ping{}.Append(flood)
	}
	d := t.newDialer()
	keep(ctx, 16, func() {
		s, err := d.open(ctx)
		t.tally.count(err)
		for err == nil {
			if err = s.send(flood); err == nil {
				t.tally.done.Add(90)
			}
		}
	})
}

// joinLeave joins new topics and leaves them at once, within the frames that a session may send.
func joinLeave(ctx context.Context, t target) {
	all := t.openAll(ctx, 256)
	for _, s := range all {
		go s.discard()
	}
	each(ctx, all, func(s *session) error {
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
		}
		topic := randomTopic()
		err := s.send(wtproto.Leave{Topic: topic}.Append(wtproto.Join{Topic: topic, Flags: both}.Append(nil)))
		t.tally.count(err)
		return err
	})
}

// topics joins as many topics as it may, and stays.
func topics(ctx context.Context, t target) {
	for _, s := range t.openAll(ctx, 256) {
		go s.discard()
		for range 64 {
			t.tally.count(s.join(randomTopic(), both, 0))
		}
	}
}

// crowd puts clients on one topic that all look for somebody to announce himself, and changes
// their options all the time.
func crowd(ctx context.Context, t target) {
	all := t.openAll(ctx, 256)
	topic := randomTopic()
	for _, s := range all {
		go s.discard()
	}
	var peers uint64
	each(ctx, all, func(s *session) error {
		select {
		case <-time.After(15 * time.Millisecond):
		case <-ctx.Done():
		}
		peers++
		err := s.join(topic, wtproto.JoinLookUp, 1+peers%64)
		t.tally.count(err)
		return err
	})
}

// pairUp opens n sessions that meet each other on many topics, and returns once they have had the
// time to.
func pairUp(ctx context.Context, t target, n int, serve func(*quic.Stream)) {
	all := t.openAll(ctx, n)
	for i := range 4 {
		topic := randomTopic()
		for _, s := range all {
			if i == 0 {
				go s.discard()
				go s.circuits(ctx, serve)
			}
			s.join(topic, both, 1000)
		}
	}
}

// upload fills circuits whose other ends read nothing.
func upload(ctx context.Context, t target) {
	block := make([]byte, 16<<10)
	pairUp(ctx, t, 256, func(str *quic.Stream) {
		for ctx.Err() == nil {
			n, err := str.Write(block)
			t.tally.done.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
}

// unread has a sender on each circuit, and reads a byte now and then, so that nothing looks
// stalled for ever.
func unread(ctx context.Context, t target) {
	pairUp(ctx, t, 16, func(str *quic.Stream) {
		go str.Write(make([]byte, 64<<20))
		one := make([]byte, 1)
		for {
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
				return
			}
			if _, err := str.Read(one); err != nil {
				return
			}
			t.tally.count(nil)
		}
	})
}

// churn makes circuits and ends them, by joining anew again and again.
func churn(ctx context.Context, t target) {
	all := t.openAll(ctx, 256)
	topic := randomTopic()
	for _, s := range all {
		go s.discard()
		go s.circuits(ctx, func(str *quic.Stream) {
			t.tally.count(nil)
			str.CancelRead(quic.StreamErrorCode(wtproto.CodeDeclined))
			str.CancelWrite(quic.StreamErrorCode(wtproto.CodeDeclined))
		})
	}
	each(ctx, all, func(s *session) error {
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
		}
		return s.send(wtproto.Join{Topic: topic, Flags: both}.Append(wtproto.Leave{Topic: topic}.Append(nil)))
	})
}

// connects asks for further circuits as fast as it can: with peers that nobody knows, with clients
// that do not welcome them, and with one that does, and takes each of these back at once.
func connects(ctx context.Context, t target) {
	all := t.openAll(ctx, 64)
	topic := randomTopic()
	for i, s := range all {
		go s.discard()
		go s.circuits(ctx, func(str *quic.Stream) { io.Copy(io.Discard, str) })
		flags := both
		if i == 0 {
			flags |= wtproto.JoinStreams
		}
		s.join(topic, flags, 0)
	}
	welcomes, declines := all[0].endpoint, all[1].endpoint
	var turn atomic.Int64
	each(ctx, slices.Repeat(all[2:], 8), func(s *session) error {
		str, err := s.conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		var id wtproto.EndpointID
		back := false // it is taken back
		switch turn.Add(1) % 3 {
		case 0:
			rand.Read(id[:])
		case 1:
			id = declines
		case 2:
			id, back = welcomes, true
		}
		str.Write(wtproto.Connect{Topic: topic, Network: wtproto.NetworkClient, ID: id[:]}.Append(nil))
		if back {
			t.tally.count(nil)
		} else if typ, _, err := wtproto.NewReader(str).Next(); err == nil && typ == wtproto.TypeRefused {
			t.tally.count(errors.New("refused"))
		}
		str.CancelRead(0)
		str.CancelWrite(0)
		return nil
	})
}

// sessionGoneCode is HTTP/3's code for a stream whose WebTransport session is over.
const sessionGoneCode = 0x170d7b68

// sessionGone resets circuits of WebTransport sessions with the code that says that the session is
// over, while it is not.
func sessionGone(ctx context.Context, t target) {
	topic := randomTopic()
	keep(ctx, 16, func() {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		s, conn, err := t.webSession(ctx)
		t.tally.count(err)
		if err != nil {
			return
		}
		defer s.CloseWithError(0, "")
		stop := context.AfterFunc(ctx, func() { s.CloseWithError(0, "") })
		defer stop()
		control, err := s.OpenStream()
		if err != nil {
			return
		}
		hello := wtproto.Hello{Version: wtproto.Version, Credit: 1 << 40}
		rand.Read(hello.Secret[:])
		join := wtproto.Join{Topic: topic, Flags: both | wtproto.JoinOfferOnly}
		control.Write(join.Append(hello.Append(nil)))
		for r := wtproto.NewReader(control); ; {
			typ, payload, err := r.Next()
			if err != nil {
				return
			}
			if typ != wtproto.TypePeer {
				continue
			}
			if offer, err := wtproto.ParsePeer(payload); err == nil {
				t.tally.count(acceptAndGo(conn, offer.Circuit))
			}
		}
	})
}

// acceptAndGo takes an offer on a stream that it opens by hand, and resets it.
func acceptAndGo(conn *quic.Conn, id wtproto.CircuitID) error {
	str, err := conn.OpenStream()
	if err != nil {
		return err
	}
	header := []byte{0x40, 0x41, 0x00} // a stream of the session that request 0 began
	if _, err := str.Write(wtproto.Accept{Circuit: id}.Append(header)); err != nil {
		return err
	}
	str.SetReliableBoundary()
	str.CancelWrite(sessionGoneCode)
	str.CancelRead(sessionGoneCode)
	return nil
}

// webSession opens a WebTransport session on a connection of its own.
func (t target) webSession(ctx context.Context) (*webtransport.Session, *quic.Conn, error) {
	d := t.newDialer()
	var conn *quic.Conn
	tr := &webtransport.Transport{
		DialAddr: func(ctx context.Context, _ string, _ *tls.Config, _ *quic.Config) (_ *quic.Conn, err error) {
			conn, err = d.connect(ctx, http3.NextProtoH3)
			return conn, err
		},
	}
	_, s, err := tr.Dial(ctx, "https://"+t.quic.String()+wtproto.Path, nil)
	if err != nil {
		d.close()
		return nil, nil, err
	}
	context.AfterFunc(s.Context(), func() { d.close() })
	return s, conn, nil
}

// httpsIdle keeps as many TLS connections as it can to the HTTPS port, and asks nothing.
func httpsIdle(ctx context.Context, t target) {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: t.from.AsSlice()}, Timeout: 5 * time.Second}
	d := tls.Dialer{NetDialer: &from, Config: &tls.Config{InsecureSkipVerify: true}}
	holdTCP(ctx, t, 1500, func() (net.Conn, error) { return d.DialContext(ctx, "tcp", t.quic.String()) })
}

// p2pSilent keeps as many TCP connections as it can to the libp2p port, and says nothing.
func p2pSilent(ctx context.Context, t target) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: t.from.AsSlice()}, Timeout: 5 * time.Second}
	holdTCP(ctx, t, 600, func() (net.Conn, error) { return d.DialContext(ctx, "tcp", t.p2p.String()) })
}

// holdTCP keeps n connections for as long as the gateway lets it.
func holdTCP(ctx context.Context, t target, n int, dial func() (net.Conn, error)) {
	keep(ctx, n, func() {
		conn, err := dial()
		t.tally.count(err)
		if err != nil {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			return
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		io.Copy(io.Discard, conn)
		conn.Close()
	})
}
