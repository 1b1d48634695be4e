package client

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// asked returns the next stream that the client opened for a further circuit.
func (r *remote) asked() (farStream, wtproto.Connect) {
	r.t.Helper()
	s, err := r.conn.AcceptStream(deadline(r.t))
	if err != nil {
		r.t.Fatalf("gateway: no stream: %v", err)
	}
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil || typ != wtproto.TypeConnect {
		r.t.Fatalf("gateway: first frame = %v, %v, want CONNECT", typ, err)
	}
	m, err := wtproto.ParseConnect(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return s, m
}

// further is the PEER that answers CONNECT.
func further(id wtproto.CircuitID) wtproto.Peer {
	m := peer(1)
	m.Circuit, m.Flags = id, wtproto.PeerInitiator|wtproto.PeerFurther
	return m
}

// opened is what Open returned.
type opened struct {
	conn *Conn
	err  error
}

func startOpen(ctx context.Context, t *Topic, p Peer) <-chan opened {
	result := make(chan opened, 1)
	go func() {
		conn, err := t.Open(ctx, p)
		result <- opened{conn, err}
	}()
	return result
}

// whole reports a place or credit of a circuit that is left, and counts on circuits.
func whole(t *testing.T, c *Client, circuits int) {
	t.Helper()
	s := live(c)
	poll(t, "the return of the places", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.circuits) == circuits && s.budget.circuits == circuits && s.asked == 0
	})
}

// A further circuit is one like the first, with the gateway's bytes right behind its answer, and
// its peer is no newcomer.
func TestOpen(t *testing.T) { overEach(t, testOpen) }

func testOpen(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	first, _ := r.circuit(topic, 1)
	result := startOpen(deadline(t), topic, first.Peer())
	s, m := r.asked()
	if want := (wtproto.Connect{Topic: topicA, Network: "dht", ID: []byte{0xc0, 1}}); !reflect.DeepEqual(m, want) {
		t.Errorf("CONNECT = %+v, want %+v", m, want)
	}
	s.Write(append(further(2).Append(nil), "hello"...))
	o := <-result
	if o.err != nil {
		t.Fatal(o.err)
	}
	defer o.conn.Close()
	if p := o.conn.Peer(); !p.Further || !p.Initiator || !p.same(first.Peer()) || first.Peer().Further {
		t.Errorf("Peer = %+v", p)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(o.conn, b); err != nil || string(b) != "hello" {
		t.Errorf("Read = %q, %v", b, err)
	}
	echo(t, o.conn, s)
	if peers := topic.Peers(); len(peers) != 1 || peers[0].String() != "dht/c001" {
		t.Errorf("Peers = %v, want one", peers)
	}
	first.Reset(wtproto.CodeApplication)
	if peers := topic.Peers(); len(peers) != 1 {
		t.Errorf("Peers = %v, though a circuit is open", peers)
	}
	o.conn.Reset(wtproto.CodeApplication)
	if peers := topic.Peers(); len(peers) != 1 {
		t.Errorf("Peers = %v, though it was this end that ended all circuits", peers)
	}
	whole(t, c, 0)
}

// Whatever the gateway answers, the place is given back and the session goes on.
func TestOpenRefused(t *testing.T) { overEach(t, testOpenRefused) }

func testOpenRefused(t *testing.T, g *fake) {
	for _, tt := range []struct {
		name   string
		answer func(s farStream)
		code   wtproto.Code
		remote bool
		end    func(testing.TB, farStream) wtproto.Code // how the client ends the stream, if that can be seen
	}{
		{"REFUSED", func(s farStream) {
			s.Write(wtproto.Refused{Code: wtproto.CodeDeclined, Reason: "no"}.Append(nil))
			s.Close()
			s.CancelRead(quic.StreamErrorCode(wtproto.CodeDeclined))
		}, wtproto.CodeDeclined, true, nil},
		{"a reset", func(s farStream) { s.CancelWrite(quic.StreamErrorCode(wtproto.CodeBusy)) }, wtproto.CodeBusy, true, readReset},
		{"no answer", func(s farStream) { s.Close() }, wtproto.CodeProtocol, false, readReset},
		{"half an answer", func(s farStream) { s.Write(further(2).Append(nil)[:9]); s.Close() }, wtproto.CodeProtocol, false, readReset},
		{"another frame", func(s farStream) { s.Write(wtproto.Ping{}.Append(nil)) }, wtproto.CodeProtocol, false, writeStopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := g.session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			first, fs := r.circuit(topic, 1)
			result := startOpen(deadline(t), topic, first.Peer())
			s, _ := r.asked()
			tt.answer(s)
			o := <-result
			wantError(t, "Open", o.err, tt.code, tt.remote)
			if tt.end != nil {
				if code := tt.end(t, s); code != tt.code {
					t.Errorf("the stream ended with %v, want %v", code, tt.code)
				}
			}
			whole(t, c, 1)
			echo(t, first, fs)
		})
	}
}

// Answers that break the protocol end the session.
func TestOpenMalformed(t *testing.T) { overEach(t, testOpenMalformed) }

func testOpenMalformed(t *testing.T, g *fake) {
	other := further(2)
	other.Topic = topicB
	for name, answer := range map[string][]byte{
		"PEER too short":    {byte(wtproto.TypePeer), 3, 1, 2, 3},
		"REFUSED too short": {byte(wtproto.TypeRefused), 0},
		"another topic":     other.Append(nil),
		"an id twice":       further(1).Append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			c, r := g.session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			first, _ := r.circuit(topic, 1)
			result := startOpen(deadline(t), topic, first.Peer())
			s, _ := r.asked()
			s.Write(answer)
			wantError(t, "Open", (<-result).err, wtproto.CodePeerGone, false)
			if e := r.closed(); wtproto.Code(e.ErrorCode) != wtproto.CodeProtocol {
				t.Errorf("session closed with %v", e)
			}
		})
	}
}

// The end of ctx takes CONNECT back, and costs nobody else.
func TestOpenCanceled(t *testing.T) { overEach(t, testOpenCanceled) }

func testOpenCanceled(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	first, fs := r.circuit(topic, 1)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	result := startOpen(ctx, topic, first.Peer())
	s, _ := r.asked()
	cancel(enough)
	if o := <-result; o.conn != nil || !errors.Is(o.err, enough) {
		t.Errorf("Open = %v, %v, want ctx's cause", o.conn, o.err)
	}
	readReset(t, s)
	writeStopped(t, s)
	if _, err := topic.Open(ctx, first.Peer()); !errors.Is(err, enough) {
		t.Errorf("Open = %v, want ctx's cause", err)
	}
	whole(t, c, 1)
	echo(t, first, fs)
}

// Circuits that were asked for take places from when they are asked for, and the last place is that
// of the budget.
func TestOpenTakesPlaces(t *testing.T) { overEach(t, testOpenTakesPlaces) }

func testOpenTakesPlaces(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	first, _ := r.circuit(topic, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var results []<-chan opened
	for range maxCircuits - 1 { // in turn: each stream has its own time, which a busy machine needs
		results = append(results, startOpen(ctx, topic, first.Peer()))
		r.asked()
	}
	_, err := topic.Open(deadline(t), first.Peer())
	wantError(t, "Open", err, wtproto.CodeCircuitLimit, false)
	refused := func() wtproto.Code { return readReset(t, r.open(peer(2).Append(nil))) }
	if g.sockets != nil {
		refused = func() wtproto.Code {
			r.send(peer(2))
			return expect(r, wtproto.TypeDecline, wtproto.ParseDecline).Code
		}
	}
	if code := refused(); code != wtproto.CodeCircuitLimit {
		t.Errorf("a circuit of the gateway was reset with %v, want %v", code, wtproto.CodeCircuitLimit)
	}
	cancel()
	for _, result := range results {
		if o := <-result; !errors.Is(o.err, context.Canceled) {
			t.Fatalf("Open = %v", o.err)
		}
	}
	whole(t, c, 1)
	again := startOpen(deadline(t), topic, first.Peer())
	s, _ := r.asked()
	s.Write(further(3).Append(nil))
	o := <-again
	if o.err != nil {
		t.Fatal(o.err)
	}
	echo(t, o.conn, s)
}

// A session that is lost takes the CONNECTs along. What is asked for without a session waits until
// the topic is joined.
func TestOpenAcrossSessions(t *testing.T) { overEach(t, testOpenAcrossSessions) }

func testOpenAcrossSessions(t *testing.T, g *fake) {
	c, r := g.session(func(c *Config) { c.NoReconnect = false })
	topic := r.join(c, topicA, JoinOptions{})
	first, _ := r.circuit(topic, 1)
	result := startOpen(deadline(t), topic, first.Peer())
	r.asked()
	d := read(t, c)
	nextIs[Connected](d)
	r.conn.CloseWithError(quic.ApplicationErrorCode(wtproto.CodeBusy), "")
	wantError(t, "Open", (<-result).err, wtproto.CodePeerGone, false)
	nextIs[Disconnected](d)
	if peers := topic.Peers(); len(peers) != 0 {
		t.Errorf("Peers = %v without a session", peers)
	}
	result = startOpen(deadline(t), topic, first.Peer())
	r = g.accept()
	r.send(welcome)
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	r.sync()
	select {
	case o := <-result:
		t.Fatalf("Open = %v, %v before JOINED", o.conn, o.err)
	default:
	}
	r.send(wtproto.Joined{Topic: topicA})
	s, _ := r.asked()
	s.Write(further(1).Append(nil))
	o := <-result
	if o.err != nil {
		t.Fatal(o.err)
	}
	echo(t, o.conn, s)
}

// The end of the topic is that of Open: before it, while the answer is on its way, and without a
// session.
func TestOpenOfLeft(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	first, _ := r.circuit(topic, 1)
	result := startOpen(deadline(t), topic, first.Peer())
	s, _ := r.asked()
	topic.Close()
	if err := topic.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	s.Write(further(2).Append(nil))
	if o := <-result; !errors.Is(o.err, net.ErrClosed) {
		t.Errorf("Open = %v, %v, want %v", o.conn, o.err, net.ErrClosed)
	}
	if code := readReset(t, s); code != wtproto.CodeLeft {
		t.Errorf("reset with %v, want %v", code, wtproto.CodeLeft)
	}
	if _, err := topic.Open(t.Context(), first.Peer()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open = %v, want %v", err, net.ErrClosed)
	}
	whole(t, c, 1)
}

// Who is on a topic: each peer joins once and leaves once, for whoever looks, and at the end of the
// topic all leave.
func TestTopicEvents(t *testing.T) { overEach(t, testTopicEvents) }

func testTopicEvents(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	told := make(chan TopicEvent)
	go func() {
		defer close(told)
		for e := range topic.Events(context.Background()) {
			told <- e
		}
	}()
	next := func(want TopicEvent) {
		t.Helper()
		select {
		case got := <-told:
			if !reflect.DeepEqual(got, want) {
				t.Errorf("event %+v, want %+v", got, want)
			}
		case <-deadline(t).Done():
			t.Fatalf("no event, want %+v", want)
		}
	}
	one, two := newPeer(peer(1)), newPeer(peer(2))
	r.open(peer(1).Append(nil)) // nobody has to accept it
	next(PeerJoined{one})
	s := r.open(peer(2).Append(nil))
	next(PeerJoined{two})
	r.send(wtproto.Status{Topic: topicA, Known: 2})
	next(Status{Known: 2})
	for range 2 {
		if conn := accept(t, topic); conn.Peer().same(two) {
			reset(s, wtproto.CodeApplication)
			conn.Read(make([]byte, 1))
		}
	}
	next(PeerLeft{two})
	again := peer(3)
	again.ID = peer(2).ID
	r.open(again.Append(nil))
	next(PeerJoined{two})
	for e := range topic.Events(t.Context()) {
		if want := (PeerJoined{one}); !reflect.DeepEqual(e, want) {
			t.Errorf("the first event for a newcomer is %+v, want %+v", e, want)
		}
		break
	}
	topic.Close()
	next(PeerLeft{one})
	next(PeerLeft{two})
	select {
	case e, ok := <-told:
		if ok {
			t.Errorf("event %+v after the end", e)
		}
	case <-deadline(t).Done():
		t.Error("Events did not end")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for e := range topic.Events(ctx) {
		t.Errorf("event %+v of a topic that has ended", e)
	}
}

// What nobody accepts takes no place once its peer has reset it, and is not accepted later, unless
// there is something to read. Once all of it stayed, and 256 peers that came and went left no place
// for another one.
func TestResetBeforeAccept(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	send := func(id wtproto.CircuitID, text string) farStream {
		s := r.open(peer(id).Append(nil))
		s.Write([]byte(text))
		var last *Conn
		poll(t, "the circuit in the queue", func() bool {
			topic.client.mu.Lock()
			defer topic.client.mu.Unlock()
			n := len(topic.queue)
			if n > 0 {
				last = topic.queue[n-1]
			}
			return n > 0 && last.id == id
		})
		if text != "" && !last.stream.holds() {
			t.Fatalf("circuit %d holds nothing", id)
		}
		return s
	}
	for id := wtproto.CircuitID(1); id <= maxCircuits+1; id++ {
		reset(send(id, ""), wtproto.CodePeerGone)
		whole(t, c, 0)
	}
	s := send(1000, "farewell")
	s.Close()
	s.CancelRead(quic.StreamErrorCode(wtproto.CodePeerGone))
	whole(t, c, 0)
	if peers := topic.Peers(); len(peers) != 0 {
		t.Errorf("Peers = %v, want nobody", peers)
	}
	conn, err := topic.Accept(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b, err := io.ReadAll(conn); conn.id != 1000 || string(b) != "farewell" {
		t.Errorf("circuit %d: read %q, %v", conn.id, b, err)
	}
	for id := wtproto.CircuitID(2000); id < 2000+2*maxOver; id++ { // which wait for ever
		send(id, "farewell").CancelRead(quic.StreamErrorCode(wtproto.CodePeerGone))
		whole(t, c, 0)
	}
	topic.client.mu.Lock()
	defer topic.client.mu.Unlock()
	if n := len(topic.queue); n != maxOver {
		t.Errorf("%d circuits that were reset wait, want %d", n, maxOver)
	}
}
