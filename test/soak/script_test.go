//go:build !race

package soak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// script is what the two ends of a circuit do. The leader sends a number first, by which the other
// end knows the script.
type script struct {
	Kind     scriptKind
	Up, Down int  // bytes of the leader and of the other end, beside the number
	PauseMS  int  // before the leader, and then before the other end begins to read
	Rounds   int  // of questions and answers
	ByLeader bool // the leader resets the circuit, not the other end
	Code     wtproto.Code

	stop   <-chan struct{} // of scriptStay
	random *rand.Rand      // of scriptStay
}

// scriptKind is a kind of [script].
type scriptKind string

const (
	scriptTrade scriptKind = "trade" // both send at the same time, and end
	scriptTalk  scriptKind = "talk"  // in turns, and then the leader ends
	scriptReset scriptKind = "reset" // in turns, and then one end resets the circuit
	scriptCut   scriptKind = "cut"   // one end resets the circuit in the middle
	scriptHold  scriptKind = "hold"  // in turns, and then until something else ends the circuit
	scriptSpend scriptKind = "spend" // in turns, until something else ends the circuit
	scriptStay  scriptKind = "stay"  // in turns, with pauses, until stop is closed
)

// conn is one end of a circuit: of a client, a TCP service, or a libp2p peer.
type conn interface {
	io.ReadWriter
	CloseWrite() error
	Reset(wtproto.Code)
}

// service is the end of a circuit that a TCP service has.
type service struct{ *net.TCPConn }

func (s service) Reset(wtproto.Code) {
	s.SetLinger(0)
	s.Close()
}

// ends brings the two ends of circuits together. Each knows what the other one has done, so nobody
// needs to believe the gateway.
type ends struct {
	last    atomic.Uint64 // number of a circuit
	running sync.Map      // by number: *circuit
	strays  atomic.Int64  // circuits over which no number came: their clients were gone
	failed  func(format string, args ...any)
}

// circuit is one that has a script.
type circuit struct {
	script
	number  uint64
	network string
	rested  chan struct{} // closed by the end that is not to reset the circuit, when it has read all
	fate    atomic.Int32  // began or crossed, whichever comes first
	done    chan struct{} // closed by the other end when it has ended
	lead    moved
	follow  moved // before done is closed
	err     error // of the other end; before done is closed
}

// What became of a circuit.
const (
	began   = 1 + iota // the other end has the number
	crossed            // it ended before that, with the topic or the session of its leader
)

// moved is what one end has sent and read.
type moved struct{ sent, read int64 }

// begin returns a circuit with a number.
func (e *ends) begin(s script, network string) *circuit {
	c := &circuit{
		script: s, number: e.last.Add(1), network: network, rested: make(chan struct{}), done: make(chan struct{}),
	}
	e.running.Store(c.number, c)
	return c
}

// errCrossed says that a circuit ended with its topic or its session, and may have been over before
// the gateway had it.
var errCrossed = errors.New("the topic was left, or the session has ended")

// leads plays c's leader on conn, and returns after both ends have ended. A circuit of scriptHold
// ends when something else ends it.
func (e *ends) leads(c *circuit, conn conn) error {
	err := c.play(conn, true)
	told, ok := errors.AsType[*wtproto.Error](err)
	if ok && (told.Remote && told.Code == wtproto.CodeLeft || !told.Remote && told.Code == wtproto.CodePeerGone) && c.fate.CompareAndSwap(0, crossed) {
		e.strays.Add(1)
		return errCrossed
	}
	defer e.running.Delete(c.number)
	select {
	case <-c.done:
		if c.err != nil {
			err = errors.Join(err, fmt.Errorf("the other end: %w", c.err))
		}
	case <-time.After(gateway.Patience):
		err = errors.Join(err, errors.New("the other end has no end"))
	}
	if err != nil {
		return fmt.Errorf("circuit %d over %s, %+v: %w", c.number, c.network, c.script, err)
	}
	return nil
}

// follow plays the other end on conn.
func (e *ends) follow(conn conn) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(conn, head); err != nil {
		e.strays.Add(1)
		conn.Reset(wtproto.CodeNone)
		return
	}
	found, ok := e.running.Load(binary.BigEndian.Uint64(head))
	if !ok {
		e.failed("somebody read %x, which is not the number of a circuit", head)
		conn.Reset(wtproto.CodeNone)
		return
	}
	c := found.(*circuit)
	if !c.fate.CompareAndSwap(0, began) {
		conn.Reset(wtproto.CodeNone)
		return
	}
	c.follow.read = int64(len(head))
	c.err = c.play(conn, false)
	close(c.done)
}

// longest is how long a script may take on a busy machine. What is to go on longer has its stop.
const longest = 3 * gateway.Patience

// watch resets an end that hangs, until unwatch is called, which says so.
func (c *circuit) watch(conn conn) (unwatch func() error) {
	done := make(chan struct{})
	hung := make(chan error, 1)
	go func() {
		defer close(hung)
		if c.stop != nil {
			select {
			case <-c.stop:
			case <-done:
				return
			}
		}
		select {
		case <-time.After(longest):
			conn.Reset(wtproto.CodeNone)
			hung <- fmt.Errorf("nothing happened in %v", longest)
		case <-done:
		}
	}()
	return func() error {
		close(done)
		return <-hung
	}
}

// play plays one end. conn has been closed or reset after it.
func (c *circuit) play(conn conn, leads bool) error {
	unwatch := c.watch(conn)
	err := c.playUnwatched(conn, leads)
	return errors.Join(err, unwatch())
}

func (c *circuit) playUnwatched(conn conn, leads bool) error {
	m, out, in := &c.follow, c.Down, c.Up
	if leads {
		m, out, in = &c.lead, c.Up, c.Down
		head := binary.BigEndian.AppendUint64(nil, c.number)
		if n, err := conn.Write(head); err != nil {
			conn.Reset(wtproto.CodeNone)
			return fmt.Errorf("the number: %w", err)
		} else {
			m.sent += int64(n)
		}
	}
	end := &player{conn, c, leads, m}
	var err error
	switch c.Kind {
	case scriptTrade:
		err = end.trade(out, in)
	case scriptTalk:
		if err = end.talk(); err == nil {
			err = end.endInTurn()
		}
	case scriptReset:
		if err = end.talk(); err == nil {
			err = end.reset()
		}
	case scriptCut:
		err = end.cut()
	case scriptStay:
		err = end.stay()
	case scriptSpend:
		for err == nil {
			err = end.turn()
		}
		conn.Reset(wtproto.CodeNone)
		err = nil // how the session ends is what counts
	case scriptHold:
		if err = end.talk(); err == nil {
			if leads {
				close(c.rested)
			}
			if n, e := conn.Read(make([]byte, 1)); e == nil || n > 0 {
				err = fmt.Errorf("%d bytes, %v, while the circuit was at rest", n, e)
			}
			conn.Reset(wtproto.CodeNone)
		}
	}
	if err != nil {
		conn.Reset(wtproto.CodeNone)
	}
	return err
}

// player is one end of a circuit while it plays its script.
type player struct {
	conn
	c     *circuit
	leads bool
	*moved
}

// send sends n bytes of the pattern of this end's direction.
func (p *player) send(n int) error {
	for n > 0 {
		b := pattern(p.c.number, p.leads, p.sent, min(n, 64<<10))
		m, err := p.Write(b)
		p.sent += int64(m)
		n -= m
		if err != nil {
			return fmt.Errorf("sent %d bytes: %w", p.sent, err)
		}
	}
	return nil
}

// receive reads n bytes, and checks them.
func (p *player) receive(n int) error {
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		m, err := p.Read(buf[:min(n, len(buf))])
		if !bytes.Equal(buf[:m], pattern(p.c.number, !p.leads, p.read, m)) {
			return fmt.Errorf("other bytes than were sent, after %d", p.read)
		}
		p.read += int64(m)
		n -= m
		if err != nil && n > 0 {
			return fmt.Errorf("read %d bytes: %w", p.read, err)
		}
	}
	return nil
}

// receiveEnd reads the end.
func (p *player) receiveEnd() error {
	switch n, err := io.Copy(io.Discard, p.conn); {
	case err != nil:
		return fmt.Errorf("instead of the end: %w", err)
	case n > 0:
		return fmt.Errorf("%d bytes behind the last", n)
	}
	return nil
}

// trade sends out bytes and the end while it reads in bytes and the end.
func (p *player) trade(out, in int) error {
	sent := make(chan error, 1)
	go func() {
		err := p.send(out)
		if err == nil {
			err = p.CloseWrite()
		}
		sent <- err
	}()
	if p.c.PauseMS > 0 {
		<-time.After(time.Duration(p.c.PauseMS) * time.Millisecond)
	}
	err := p.receive(in)
	if err == nil {
		err = p.receiveEnd()
	}
	if err != nil {
		p.Reset(wtproto.CodeNone) // ends what is being sent
	}
	return errors.Join(err, <-sent)
}

// talk asks and answers in turns, with some bytes each.
func (p *player) talk() error {
	for range p.c.Rounds {
		if err := p.turn(); err != nil {
			return err
		}
	}
	return nil
}

// turnSize is how many bytes a question or an answer has.
const turnSize = 1000

// turn asks and waits for the answer, or waits for the question and answers.
func (p *player) turn() error {
	first, second := p.receive, p.send
	if p.leads {
		first, second = p.send, p.receive
	}
	if err := first(turnSize); err != nil {
		return err
	}
	return second(turnSize)
}

// endInTurn ends a circuit at rest: first the leader, then the other end.
func (p *player) endInTurn() error {
	first, second := p.receiveEnd, p.CloseWrite
	if p.leads {
		first, second = p.CloseWrite, p.receiveEnd
	}
	if err := first(); err != nil {
		return err
	}
	return second()
}

// reset resets a circuit at rest, or sees that the other end does.
func (p *player) reset() error {
	if p.leads == p.c.ByLeader {
		select { // else the reset would overtake bytes
		case <-p.c.rested:
		case <-time.After(gateway.Patience):
			return errors.New("the other end did not read all")
		}
		p.Reset(p.c.Code)
		return nil
	}
	close(p.c.rested)
	n, err := p.Read(make([]byte, 1))
	if n > 0 || err == nil || err == io.EOF {
		return fmt.Errorf("%d bytes, %v; want a reset", n, err)
	}
	return p.wasReset(err)
}

// wasReset checks the error of an end whose other end has reset the circuit. A TCP service can
// neither say a code nor see one.
func (p *player) wasReset(err error) error {
	want := p.c.Code
	switch {
	case !p.leads && p.c.network == "static":
		return nil
	case p.leads && p.c.network == "static":
		want = wtproto.CodePeerReset
	}
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != want {
		return fmt.Errorf("%w, want a reset with %v", err, want)
	}
	return nil
}

// cut resets a circuit over which both send without an end, after p.c.Down bytes were read, or
// sees that the other end does.
func (p *player) cut() error {
	sent := make(chan error, 1)
	go func() {
		for {
			if err := p.send(32 << 10); err != nil {
				sent <- err
				return
			}
		}
	}()
	if p.leads == p.c.ByLeader {
		err := p.receive(p.c.Down)
		p.Reset(p.c.Code)
		<-sent
		return err
	}
	for {
		if err := p.receive(32 << 10); err != nil {
			p.Reset(p.c.Code) // ends what is being sent
			return p.wasReset(errors.Join(err, <-sent))
		}
	}
}

// ended returns the code with which the gateway counts the end of a circuit that did what its
// script says.
func (c *circuit) ended() wtproto.Code {
	switch c.Kind {
	case scriptReset, scriptCut:
		if !c.ByLeader && c.network == "static" {
			return wtproto.CodePeerReset
		}
		return wtproto.CodeApplication
	case scriptHold, scriptSpend:
		return wtproto.CodePeerGone // its session has ended
	}
	return wtproto.CodeNone
}

// period is after how many bytes a pattern begins again: a prime, so that nothing else does.
const period = 65521

// noise is the bytes that all patterns are made of, with as many again of them as are asked for at
// once.
var noise = func() []byte {
	b := make([]byte, period)
	rand.NewChaCha8([32]byte{}).Read(b)
	return append(b, append(b[:len(b):len(b)], b...)...)
}()

// pattern returns n bytes, at most 64 KiB, that stand at offset at of a direction of a circuit.
func pattern(number uint64, up bool, at int64, n int) []byte {
	from := uint64(at) + number*7919
	if up {
		from += 101
	}
	from %= period
	return noise[from : from+uint64(n)]
}

// halves are the ends that clients and libp2p peers have.
var (
	_ conn = (*client.Conn)(nil)
	_ conn = discovery.Stream(nil)
)
