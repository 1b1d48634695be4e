package server

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// end is one of the two ends of a circuit.
type end interface {
	io.ReadWriter
	CloseWrite() error
	SetReadDeadline(time.Time) error
	// onReadable is that of a [discovery.Readable], or returns false.
	onReadable(f func()) bool
	// explain returns err, by which the end has failed, after what it may yet learn of the cause.
	explain(err error) error
	// free is called after both directions have ended.
	free()
}

// peerEnd is a native peer's end.
type peerEnd struct{ discovery.Stream }

func (e peerEnd) onReadable(f func()) bool {
	r, ok := e.Stream.(discovery.Readable)
	return ok && r.OnReadable(f)
}
func (e peerEnd) explain(err error) error { return err }
func (e peerEnd) free()                   { e.Close() }

// circuit joins a client with a peer or with another client. Its run is one goroutine until bytes
// can pass, and then each direction is one. The last of them ends the circuit.
type circuit struct {
	// constant after the topic's loop made it
	topic   *topic
	of      holder
	network string
	client  bool // the peer is a client of another gateway
	near    *leg
	far     *leg              // the other client's, or nil
	peer    discovery.Stream  // the peer's end, or nil
	inbound discovery.Inbound // to be accepted for peer, or nil

	toPeer, toClient direction

	over  over
	done  func()    // called in the end; set by launch
	began time.Time // when bytes could pass; set by run

	unmeter, unwatch func()         // set by run; unwatch may be nil
	wasReset         sync.WaitGroup // both ends, after the circuit was over before its directions
	copying          atomic.Int32   // directions that have not ended

	isOpen     atomic.Bool // open has succeeded
	peerFirst  atomic.Bool // the peer's end was the first of the two to end
	peerFailed atomic.Bool // the peer's end has ended the circuit, other than by FIN both ways
	yields     atomic.Bool // it ends to make room
	ending     atomic.Bool // one of them has ended
}

// holder is what a circuit is in its topic's loop: that of a pair, or a further one.
type holder interface {
	circuitOpened(*topic)
	// circuitEnded is called after the legs of c were released.
	circuitEnded(t *topic, c *circuit, v verdict)
}

// verdict is how a circuit ended, for the topic's loop.
type verdict int

const (
	ended     verdict = iota // by its client, or for its client's sake: not to be made again
	peerEnded                // by its peer: not to be made again until one of the two joins anew, which a service cannot
	broken                   // the connection with the peer was lost
	refused                  // it never opened, and not by the client's will, it ended to make room, or a client has lost its stream alone
	hungUp                   // the peer ended it at once, without a byte: peerEnded, and as good as a failed dial
)

// atOnce is how soon a peer ends a circuit that it did not want.
const atOnce = time.Second

// run opens the circuit, and moves its bytes.
func (c *circuit) run() {
	rest := c.topic.router.remains
	rest.enter(remainsOpening)
	err := c.open()
	rest.leave(remainsOpening)
	if err != nil {
		c.over.end(err)
	}
	asked := c.near.asked
	if err := c.over.cause(); err != nil {
		v := c.notOpened(err)
		if c.near.announced && asked != nil {
			asked.begins(nil)
		}
		c.end(v)
		return
	}
	c.near.asked = nil
	c.begin()
	if asked != nil { // its goroutine has nothing else to do
		asked.begins(&c.toClient)
	} else {
		go c.toClient.run()
	}
	c.toPeer.run()
}

// notOpened resets both ends of a circuit that did not open.
func (c *circuit) notOpened(err error) verdict {
	code := codeOf(err)
	c.reset(code)
	c.topic.log(slog.LevelDebug, "circuit not opened", "network", c.network, "code", code, "error", err)
	switch {
	case code == wtproto.CodeDeclined:
		return ended
	case peerLost(err):
		return broken
	}
	return refused
}

// end tells the topic of the end, and is the last that happens.
func (c *circuit) end(v verdict) {
	c.near.release()
	if c.far != nil {
		c.far.release()
	}
	c.topic.post(circuitEnded{c, v})
	c.done()
}

// begin prepares both directions. If the circuit is over before they are, both ends are reset with
// its code.
func (c *circuit) begin() {
	c.began = time.Now()
	r := c.topic.router
	far := c.other()
	c.toClient.prepare(c, c.near, far)
	c.toPeer.prepare(c, far, c.near)
	c.copying.Store(2)
	c.unmeter = r.meters.measure(c)
	r.cfg.Observer.circuitOpened(c.network)
	c.topic.post(circuitOpened{c})
	r.memory.add(c)
	r.remains.enter(remainsOpen)
	if w, ok := c.peer.(discovery.Watched); ok {
		c.unwatch = w.OnLost(func(err error) { c.over.end(err) })
	}
	c.wasReset.Add(1)
	if c.over.atEnd(c.resetAtEnd) {
		go c.resetAtEnd()
	}
}

// resetAtEnd resets both ends after the circuit is over.
func (c *circuit) resetAtEnd() {
	c.reset(codeOf(c.over.cause()))
	c.wasReset.Done()
}

// finish ends the circuit after both directions have ended.
func (c *circuit) finish() {
	if c.unwatch != nil {
		c.unwatch()
	}
	if !c.over.end(nil) {
		c.wasReset.Wait() // free knows no code
	}
	c.near.free()
	c.other().free()
	r := c.topic.router
	r.remains.leave(remainsOpen)
	r.memory.remove(c)
	c.unmeter()
	cause := c.over.cause()
	lasted := time.Since(c.began)
	r.cfg.Observer.circuitEnded(CircuitEnd{
		Network: c.network, Code: codeOf(cause),
		ToClient: c.toClient.Moved(), ToPeer: c.toPeer.Moved(), Lasted: lasted,
	})
	c.end(c.verdict(cause, lasted))
}

// verdict says how the circuit ended that has lasted so long.
func (c *circuit) verdict(cause error, lasted time.Duration) verdict {
	switch {
	case peerLost(cause):
		return broken
	case slices.ContainsFunc(c.legs(), (*leg).isLost):
		return refused
	case codeOf(cause) == wtproto.CodeBusy && (c.yields.Load() || c.client && c.peerFailed.Load()):
		return refused
	case c.peerFirst.Load() && c.toClient.Moved() == 0 && lasted < atOnce:
		return hungUp
	case unwanted(codeOf(cause)):
		return ended
	case c.peerFirst.Load() || c.peerFailed.Load():
		return peerEnded
	}
	return ended
}

// unwanted reports whether code says that the client does not want the circuit, or cannot have
// one.
func unwanted(code wtproto.Code) bool {
	switch code {
	case wtproto.CodeDeclined, wtproto.CodeLeft, wtproto.CodeStalled:
		return true
	}
	return false
}

// peerLost reports whether err says that the connection with a peer was lost. Where it was the
// client's, the error has Remote.
func peerLost(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == wtproto.CodePeerGone && !e.Remote
}

// giveUp ends the circuit, unless it is open.
func (c *circuit) giveUp(cause error) {
	if !c.isOpen.Load() {
		c.over.end(cause)
	}
}

// open brings both ends up. Nothing is shown to a client before the other end is sure.
func (c *circuit) open() error {
	c.over.atEnd(c.expire) // a stream that comes later expires by itself
	defer c.over.atEnd(nil)
	if c.inbound != nil {
		s, err := c.inbound.Accept()
		if err != nil {
			return err
		}
		c.peer = s
	}
	for _, step := range []func(*leg) error{
		(*leg).tryOpen,
		(*leg).acquire,
		(*leg).announce,
	} {
		for _, l := range c.legs() {
			if err := step(l); err != nil {
				return err
			}
		}
	}
	c.isOpen.Store(true)
	return nil
}

// expire ends all waits in the clients' streams, while the circuit is being opened.
func (c *circuit) expire() {
	for _, l := range c.legs() {
		l.waits.expire()
	}
}

// other returns the end that is not near.
func (c *circuit) other() end {
	if c.far != nil {
		return c.far
	}
	return peerEnd{c.peer}
}

// waiting appends to all what each direction holds if its destination has taken nothing since
// before.
func (c *circuit) waiting(all []holding, before time.Time) []holding {
	near := c.near.session
	toPeer := holding{circuit: c, session: near, who: near.principal, since: c.toPeer.Stalled()}
	toPeer.held = c.toPeer.Held() + c.near.unread(c.toPeer.Moved()+c.toPeer.Held())
	toClient := holding{circuit: c, session: near, who: near.principal, since: later(c.toClient.Stalled(), c.near.credit)}
	toClient.held = c.toClient.Held()
	if c.far != nil {
		toPeer.since = later(toPeer.since, c.far.credit)
		toClient.session, toClient.who = c.far.session, c.far.session.principal
		toClient.held += c.far.unread(c.toClient.Moved() + c.toClient.Held())
	} else if w, ok := c.peer.(discovery.Windowed); ok {
		initial, most := w.ReadWindow()
		toClient.held += window(initial, most, c.toClient.Moved()+c.toClient.Held())
	}
	for _, h := range []holding{toPeer, toClient} {
		if !h.since.IsZero() && h.since.Before(before) {
			all = append(all, h)
		}
	}
	return all
}

// later returns stalled, the beginning of a Write that has not ended, or when it last got some
// credit.
func later(stalled time.Time, c *credit) time.Time {
	if p := c.progress(); !stalled.IsZero() && p.After(stalled) {
		return p
	}
	return stalled
}

// note notes that an end has ended its direction, or both by failing, unless we have ended it.
func (c *circuit) note(e end, failed bool) {
	if c.over.is() {
		return
	}
	_, peer := e.(peerEnd)
	if !c.ending.Swap(true) {
		c.peerFirst.Store(peer)
	}
	if failed && peer {
		c.peerFailed.Store(true)
	}
}

// reset ends both ends.
func (c *circuit) reset(code wtproto.Code) {
	c.topic.router.remains.enter(remainsReset)
	defer c.topic.router.remains.leave(remainsReset)
	for _, l := range c.legs() {
		l.reset(code)
	}
	if c.peer != nil {
		c.peer.Reset(code)
	}
}

// legs returns the clients' ends.
func (c *circuit) legs() []*leg {
	if c.far != nil {
		return []*leg{c.near, c.far}
	}
	return []*leg{c.near}
}

// codeOf returns the code that err carries, CodeNone for nil and CodeInternal for an error without
// one.
func codeOf(err error) wtproto.Code {
	if err == nil {
		return wtproto.CodeNone
	}
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code
	}
	return wtproto.CodeInternal
}
