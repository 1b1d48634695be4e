package client

import (
	"context"
	"errors"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// joining is a Join in progress.
type joining struct {
	topic *Topic
	err   error
}

func startJoin(ctx context.Context, c *Client, topic wtproto.Topic, opts JoinOptions) <-chan joining {
	result := make(chan joining, 1)
	go func() {
		t, err := c.Join(ctx, topic, opts)
		result <- joining{t, err}
	}()
	return result
}

func TestJoinOptions(t *testing.T) {
	c, r := newSessionPair(t, nil)
	all := func(Peer) bool { return true }
	for _, tt := range []struct {
		name string
		opts JoinOptions
		want wtproto.Join
	}{
		{"zero", JoinOptions{}, wtproto.Join{Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp}},
		{"announce", JoinOptions{AnnounceOnly: true, MaxPeers: 7}, wtproto.Join{Flags: wtproto.JoinAnnounce, MaxPeers: 7}},
		{"look up", JoinOptions{LookUpOnly: true, MaxPeers: 1}, wtproto.Join{Flags: wtproto.JoinLookUp, MaxPeers: 1}},
		{"streams", JoinOptions{Streams: true}, wtproto.Join{Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp | wtproto.JoinStreams}},
		{"networks", JoinOptions{Networks: []string{"lan", "client"}}, wtproto.Join{
			Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp, Networks: []string{"lan", "client"},
		}},
		{"filter", JoinOptions{Filter: all}, wtproto.Join{Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp | wtproto.JoinOfferOnly}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := wtproto.TopicFromName(tt.name)
			tt.want.Topic = key
			result := startJoin(deadline(t), c, key, tt.opts)
			if got := r.joins(key); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("JOIN = %+v, want %+v", got, tt.want)
			}
			j := <-result
			if j.err != nil {
				t.Fatal(j.err)
			}
			if j.topic.Key() != key || j.topic.Err() != nil {
				t.Errorf("joined %v, %v", j.topic.Key(), j.topic.Err())
			}
		})
	}
	for _, bad := range []JoinOptions{
		{AnnounceOnly: true, LookUpOnly: true},
		{MaxPeers: -1},
		{Networks: []string{""}},
		{Networks: []string{"\xff"}},
		{Networks: make([]string, wtproto.MaxNetworks+1)},
	} {
		if _, err := c.Join(t.Context(), topicA, bad); err == nil {
			t.Errorf("Join took %+v", bad)
		}
	}
}

// Join of a joined topic changes its options, and says so to the gateway.
func TestJoinAgain(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	again, err := c.Join(t.Context(), topicA, JoinOptions{MaxPeers: 3})
	if err != nil || again != topic {
		t.Fatalf("second Join = %p, %v, want %p", again, err, topic)
	}
	if got := r.joins(topicA); got.MaxPeers != 3 {
		t.Errorf("second JOIN = %+v", got)
	}
	r.sync()
	if err := topic.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

func TestJoinRefused(t *testing.T) {
	c, r := newSessionPair(t, nil)
	result := startJoin(deadline(t), c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden, Reason: "no"})
	j := <-result
	if j.topic != nil {
		t.Error("Join returned a topic")
	}
	wantError(t, "Join", j.err, wtproto.CodeForbidden, true)
	r.join(c, topicA, JoinOptions{}) // nothing is left of it
}

// A Join whose ctx ends leaves the topic, with the circuits that came early.
func TestJoinCanceled(t *testing.T) {
	c, r := newSessionPair(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	result := startJoin(ctx, c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	s := r.open(peer(1).Append(nil))
	waitPlaces(t, c, 1)
	cause := errors.New("test")
	cancel(cause)
	if j := <-result; j.topic != nil || !errors.Is(j.err, cause) {
		t.Fatalf("Join = %v, %v, want %v", j.topic, j.err, cause)
	}
	expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
	if code := readReset(t, s); code != wtproto.CodeLeft {
		t.Errorf("circuit reset with %v, want %v", code, wtproto.CodeLeft)
	}
	again := startJoin(deadline(t), c, topicA, JoinOptions{MaxPeers: 2})
	r.send(wtproto.Joined{Topic: topicA}) // of the first JOIN, late
	r.sync()
	r.send(wtproto.Left{Topic: topicA})
	if m := r.joins(topicA); m.MaxPeers != 2 {
		t.Errorf("JOIN = %+v", m)
	}
	if j := <-again; j.err != nil {
		t.Error(j.err)
	}
}

// Of two that join a topic at once, one that gives up does not take it from the other.
func TestJoinTogether(t *testing.T) {
	c, r := newSessionPair(t, nil)
	first := startJoin(deadline(t), c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	ctx, cancel := context.WithCancel(t.Context())
	second := startJoin(ctx, c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	cancel()
	if j := <-second; !errors.Is(j.err, context.Canceled) {
		t.Errorf("canceled Join = %v", j.err)
	}
	r.send(wtproto.Joined{Topic: topicA})
	if j := <-first; j.err != nil {
		t.Errorf("Join = %v", j.err)
	}
}

// As few frames as can be wait for a gateway that does not read them.
func TestJoinBusy(t *testing.T) {
	s := &session{wake: make(chan struct{}, 1), ctx: t.Context()}
	var cause error
	s.cancel = func(err error) { cause = err }
	n := 0
	for s.send(wtproto.Leave{}) {
		n++
	}
	if size := len(wtproto.Leave{}.Append(nil)); n*size < maxFrames || n*size > maxFrames+size {
		t.Errorf("%d bytes were queued, want %d", n*size, maxFrames)
	}
	s.answer(wtproto.Decline{Circuit: 1})
	wantError(t, "cause", cause, wtproto.CodeBusy, false)
	c := &Client{session: s, topics: map[wtproto.Topic]*Topic{}}
	_, err := c.Join(t.Context(), topicA, JoinOptions{})
	wantError(t, "Join", err, wtproto.CodeBusy, false)
	if len(c.topics) != 0 {
		t.Error("a topic is left of a Join that was not sent")
	}
}

func TestStatus(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	if status := topic.Status(); !reflect.DeepEqual(status, Status{}) {
		t.Errorf("first Status = %+v", status)
	}
	r.send(wtproto.Status{
		Topic: topicA, More: true, Known: 5, Connected: 2,
		Networks: []wtproto.NetworkStatus{{Name: "dht", State: wtproto.NetworkSearching, Found: 4, LastCode: wtproto.CodePeerUnreachable}},
	})
	want := Status{
		More: true, Known: 5, Connected: 2,
		Networks: []NetworkStatus{{Name: "dht", State: wtproto.NetworkSearching, Found: 4, LastCode: wtproto.CodePeerUnreachable}},
	}
	for e := range topic.Events(deadline(t)) {
		if got := e.(Status); !reflect.DeepEqual(got, want) {
			t.Errorf("event %+v, want %+v", got, want)
		}
		break
	}
	if got := topic.Status(); !reflect.DeepEqual(got, want) {
		t.Errorf("Status = %+v, want %+v", got, want)
	}
}

// Leaving resets the circuits that nobody accepted, and leaves the others alone.
func TestLeave(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	accepted, s := r.circuit(topic, 1)
	waiting := r.open(peer(2).Append(nil))
	waitPlaces(t, c, 2)
	left := make(chan error, 1)
	go func() { left <- topic.Leave(deadline(t)) }()
	if m := expect(r, wtproto.TypeLeave, wtproto.ParseLeave); m.Topic != topicA {
		t.Errorf("LEAVE of %v", m.Topic)
	}
	wait(t, "Done", topic.Done())
	if code := readReset(t, waiting); code != wtproto.CodeLeft {
		t.Errorf("circuit that waited was reset with %v, want %v", code, wtproto.CodeLeft)
	}
	late := r.open(peer(3).Append(nil))
	if code := readReset(t, late); code != wtproto.CodeLeft {
		t.Errorf("circuit after LEAVE was reset with %v, want %v", code, wtproto.CodeLeft)
	}
	r.send(wtproto.Status{Topic: topicA, Known: 1}) // sent before LEAVE came
	r.sync()
	select {
	case err := <-left:
		t.Fatalf("Leave returned %v before LEFT", err)
	default:
	}
	r.send(wtproto.Left{Topic: topicA})
	if err := <-left; err != nil {
		t.Errorf("Leave = %v", err)
	}
	if err := topic.Err(); err != net.ErrClosed {
		t.Errorf("Err = %v, want %v", err, net.ErrClosed)
	}
	if _, err := topic.Accept(t.Context()); err != net.ErrClosed {
		t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
	}
	if err := topic.Leave(t.Context()); err != nil {
		t.Errorf("second Leave = %v", err)
	}
	echo(t, accepted, s)
	r.join(c, topicA, JoinOptions{})
}

func TestLeaveContext(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := topic.Leave(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Leave = %v, want %v", err, context.Canceled)
	}
	expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
	if err := topic.Err(); err != net.ErrClosed {
		t.Errorf("Err = %v: the topic was not left", err)
	}
}

// LEFT that nobody asked for ends a topic after the circuits that are there were accepted.
func TestTakenAway(t *testing.T) { overEach(t, testTakenAway) }

func testTakenAway(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	r.open(peer(1).Append(nil))
	s := r.open(peer(2).Append(nil))
	poll(t, "2 circuits in the queue", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(topic.queue) == 2
	})
	r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeTokenExpired, Reason: "old"})
	wait(t, "Done", topic.Done())
	conns := map[byte]*Conn{}
	for range 2 {
		conn := accept(t, topic)
		conns[conn.Peer().ID[1]] = conn
	}
	if conns[2] == nil {
		t.Fatalf("accepted %v", conns)
	}
	echo(t, conns[2], s)
	_, err := topic.Accept(t.Context())
	wantError(t, "Accept", err, wtproto.CodeTokenExpired, true)
	wantError(t, "Err", topic.Err(), wtproto.CodeTokenExpired, true)
	if err := topic.Leave(t.Context()); err != nil {
		t.Errorf("Leave = %v", err)
	}
	r.join(c, topicA, JoinOptions{}) // and no LEAVE came before JOIN
}

// LEAVE and a LEFT that the gateway sent by itself meet on the way: that LEFT is the only one.
func TestLeaveAgainstLeft(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	done := make(chan error, 1)
	go func() { done <- topic.Leave(deadline(t)) }()
	wait(t, "Done", topic.Done())
	r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden})
	if err := <-done; err != nil {
		t.Errorf("Leave = %v", err)
	}
	expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
	r.join(c, topicA, JoinOptions{})
}

// New options and a LEFT that the gateway sent by itself meet on the way: the gateway takes the
// JOIN for a new one, which the client then leaves, and only after that it joins again.
func TestOptionsAgainstLeft(t *testing.T) {
	for name, refused := range map[string]bool{"JOINED": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			c, r := newSessionPair(t, nil)
			topic := r.join(c, topicA, JoinOptions{})
			if _, err := c.Join(t.Context(), topicA, JoinOptions{MaxPeers: 2}); err != nil {
				t.Fatal(err)
			}
			r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden})
			wait(t, "Done", topic.Done())
			again := startJoin(deadline(t), c, topicA, JoinOptions{MaxPeers: 3})
			if m := expect(r, wtproto.TypeJoin, wtproto.ParseJoin); m.MaxPeers != 2 {
				t.Fatalf("JOIN = %+v", m)
			}
			if refused {
				r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden})
			} else {
				r.send(wtproto.Joined{Topic: topicA})
				expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
				r.sync() // no JOIN before LEFT
				r.send(wtproto.Left{Topic: topicA})
			}
			if m := r.joins(topicA); m.MaxPeers != 3 {
				t.Errorf("JOIN = %+v", m)
			}
			if j := <-again; j.err != nil || j.topic == topic {
				t.Errorf("Join = %p, %v", j.topic, j.err)
			}
		})
	}
}

// The same with LEAVE on its way too: of the two LEFT only the second is the last word.
func TestOptionsAndLeaveAgainstLeft(t *testing.T) {
	c, r := newSessionPair(t, nil)
	topic := r.join(c, topicA, JoinOptions{})
	c.Join(t.Context(), topicA, JoinOptions{MaxPeers: 2})
	left := make(chan error, 1)
	go func() { left <- topic.Leave(deadline(t)) }()
	wait(t, "Done", topic.Done())
	r.send(wtproto.Left{Topic: topicA, Code: wtproto.CodeForbidden}, wtproto.Joined{Topic: topicA})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	expect(r, wtproto.TypeLeave, wtproto.ParseLeave)
	r.sync()
	select {
	case err := <-left:
		t.Fatalf("Leave returned %v before the last LEFT", err)
	default:
	}
	r.send(wtproto.Left{Topic: topicA})
	if err := <-left; err != nil {
		t.Errorf("Leave = %v", err)
	}
	r.join(c, topicA, JoinOptions{})
}

// Several Accepts share what comes, each circuit goes to one, and a ctx that ends takes none along.
func TestAcceptConcurrently(t *testing.T) { overEach(t, testAcceptConcurrently) }

func testAcceptConcurrently(t *testing.T, g *fake) {
	c, r := g.session(nil)
	topic := r.join(c, topicA, JoinOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	canceled := make(chan error, 1)
	go func() {
		_, err := topic.Accept(ctx)
		canceled <- err
	}()
	cancel()
	if err := <-canceled; !errors.Is(err, context.Canceled) {
		t.Fatalf("Accept = %v, want %v", err, context.Canceled)
	}
	const n = 20
	got := make(chan byte, n)
	for range 4 {
		go func() {
			for {
				conn, err := topic.Accept(context.Background())
				if err != nil {
					return
				}
				got <- conn.Peer().ID[1]
			}
		}()
	}
	for i := range n {
		r.open(peer(wtproto.CircuitID(i + 1)).Append(nil))
	}
	seen := map[byte]bool{}
	for range n {
		select {
		case id := <-got:
			if seen[id] {
				t.Errorf("circuit %d came twice", id)
			}
			seen[id] = true
		case <-time.After(30 * time.Second):
			t.Fatalf("%d circuits came of %d", len(seen), n)
		}
	}
	c.Close()
	if _, err := topic.Accept(t.Context()); err != net.ErrClosed {
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
}

// Two circuits that come before the first of two that wait has run wake both.
func TestAcceptWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Client)
		topic := newTopic(c, topicA)
		got := make(chan *Conn, 2)
		for range 2 {
			go func() {
				conn, _ := topic.Accept(t.Context())
				got <- conn
			}()
		}
		synctest.Wait()
		c.mu.Lock()
		for range 2 {
			topic.queue = append(topic.queue, &Conn{session: new(session)})
			topic.signalLocked()
		}
		c.mu.Unlock()
		synctest.Wait()
		if len(got) != 2 {
			t.Errorf("%d of 2 were woken", len(got))
		}
	})
}

// A Join that is not answered ends with the session.
func TestSessionEndsDuringJoin(t *testing.T) { overEach(t, testSessionEndsDuringJoin) }

func testSessionEndsDuringJoin(t *testing.T, g *fake) {
	c, r := g.session(nil)
	result := startJoin(deadline(t), c, topicA, JoinOptions{})
	expect(r, wtproto.TypeJoin, wtproto.ParseJoin)
	r.conn.CloseWithError(0x0a, "busy")
	wantError(t, "Join", (<-result).err, wtproto.CodeBusy, true)
	wait(t, "Done", c.Done())
}
