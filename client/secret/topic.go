package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"sync"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// maxKnown is how many peers a topic remembers the keys of.
	maxKnown = 1024
	// maxQueue is how many circuits wait to be accepted, those that have ended since too.
	maxQueue = 256
	// maxUnused is how many bytes of a circuit that nobody wants are read and thrown away.
	maxUnused = 64 << 10
)

// Topic is a room that a client has joined. It has the methods of a [*client.Topic] that give
// circuits, and they give sealed ones. Each circuit is sealed by itself, so one whose other end
// never answers delays no other; it is reset after 10 s. Any number of goroutines may use it.
//
// What a peer's first circuit has shown as its key is its key: a further circuit with another one
// is reset with CodeProtocol, because a gateway could connect it with another member of the room.
type Topic struct {
	room   *Room
	topic  *client.Topic
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of run, handshakes and discards
	done   chan struct{}  // closed when no circuit is added to queue any more

	mu        sync.Mutex
	keys      map[string]Key // guarded by mu; of peers, by Peer.String
	known     []string       // guarded by mu; those in keys, in the order in which they came
	queue     []*Conn        // guarded by mu; sealed and not accepted
	changed   chan struct{}  // guarded by mu; closed when queue has changed
	unused    []*Conn        // guarded by mu; those that are read and thrown away
	accepts   bool           // guarded by mu; Accept, Conns or Listen was called
	direct    bool           // guarded by mu; Accept or Conns was
	discards  bool           // guarded by mu; DialContext was
	listeners int            // guarded by mu; that are open
}

// Join joins the room's topic. Nobody else may accept circuits of that topic with c meanwhile. The
// caller closes the result.
func (r *Room) Join(ctx context.Context, c *client.Client, opts client.JoinOptions) (*Topic, error) {
	inner, err := c.Join(ctx, r.topic, opts)
	if err != nil {
		return nil, err
	}
	t := &Topic{
		room: r, topic: inner,
		done: make(chan struct{}), changed: make(chan struct{}), keys: make(map[string]Key),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	// The topic is to know from now on that its circuits are accepted.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if first, err := inner.Accept(ended); err == nil {
		t.wg.Go(func() { t.take(first) })
	}
	t.wg.Go(t.run)
	return t, nil
}

// Room returns the room.
func (t *Topic) Room() *Room { return t.room }

// Topic returns the topic, for what it tells: [client.Topic.Peers], [client.Topic.Events],
// [client.Topic.Status], [client.Topic.Done] and [client.Topic.Err]. Among its peers may be some
// who do not know the secret. Its circuits are not to be accepted or opened there.
func (t *Topic) Topic() *client.Topic { return t.topic }

// run seals circuits until the topic has ended.
func (t *Topic) run() {
	var handshakes sync.WaitGroup
	defer close(t.done)
	defer handshakes.Wait()
	for c, err := range t.topic.Conns(t.ctx) {
		if err != nil {
			return
		}
		handshakes.Go(func() { t.take(c) })
	}
}

// take seals c and queues it.
func (t *Topic) take(c *client.Conn) {
	sealed, err := t.seal(t.ctx, c)
	if err != nil {
		return // the circuit was reset with a code
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ctx.Err() != nil:
		sealed.Reset(wtproto.CodeLeft)
	case t.discards && !t.accepts && !c.Peer().Further:
		t.discardLocked(sealed)
	default:
		if len(t.queue) == maxQueue {
			t.queue[0].Reset(wtproto.CodeBusy)
			t.queue = slices.Delete(t.queue, 0, 1)
		}
		t.queue = append(t.queue, sealed)
		t.changedLocked()
	}
}

// errOtherKey says that a gateway has connected a circuit with another one than was asked for.
var errOtherKey = wtproto.Errorf(wtproto.CodeProtocol, "a further circuit has another key than the peer's first one")

// seal seals c, and compares the key with that of the peer.
func (t *Topic) seal(ctx context.Context, c *client.Conn) (*Conn, error) {
	sealed, err := t.room.Seal(ctx, c)
	if err != nil {
		return nil, err
	}
	name, further := c.Peer().String(), c.Peer().Further
	t.mu.Lock()
	defer t.mu.Unlock()
	key, ok := t.keys[name]
	switch {
	case ok && further && key != sealed.Key():
		sealed.Reset(wtproto.CodeProtocol)
		return nil, fmt.Errorf("secret: %w", errOtherKey)
	case !ok:
		if len(t.known) == maxKnown {
			delete(t.keys, t.known[0])
			t.known = slices.Delete(t.known, 0, 1)
		}
		t.known = append(t.known, name)
	}
	t.keys[name] = sealed.Key()
	return sealed, nil
}

// changedLocked wakes those who wait for a circuit.
func (t *Topic) changedLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// discardLocked has c, which nobody wants, read and thrown away. It stays open, because its end
// tells when the peer has gone.
func (t *Topic) discardLocked(c *Conn) {
	t.unused = append(t.unused, c)
	t.wg.Go(func() {
		if _, err := io.CopyN(io.Discard, c, maxUnused); err == nil {
			return // the peer waits from now on
		}
		c.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.unused = slices.DeleteFunc(t.unused, func(o *Conn) bool { return o == c })
	})
}

// Accept waits for the next circuit that was sealed and returns it; it is the caller's to close.
// It ends as [client.Topic.Accept] does.
func (t *Topic) Accept(ctx context.Context) (*Conn, error) {
	t.mu.Lock()
	t.direct = true
	t.mu.Unlock()
	return t.accept(ctx)
}

func (t *Topic) accept(ctx context.Context) (*Conn, error) {
	for {
		t.mu.Lock()
		t.accepts = true
		if len(t.queue) > 0 {
			c := t.queue[0]
			t.queue = slices.Delete(t.queue, 0, 1)
			t.mu.Unlock()
			return c, nil
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
			continue
		case <-t.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		t.mu.Lock()
		empty := len(t.queue) == 0
		t.mu.Unlock()
		if !empty {
			continue
		}
		if err := t.topic.Err(); err != nil {
			return nil, err
		}
		return nil, net.ErrClosed
	}
}

// Conns returns an iterator over the circuits that [Topic.Accept] returns. It ends as
// [client.Topic.Conns] does.
func (t *Topic) Conns(ctx context.Context) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		for {
			c, err := t.Accept(ctx)
			if err == net.ErrClosed {
				return
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Open opens one more circuit with a peer, as [client.Topic.Open] does, and seals it. The chain of
// an error holds what [client.Topic.Open] and [Room.Seal] tell, or an [*wtproto.Error] with
// CodeProtocol if the circuit shows another key than the peer's first one.
func (t *Topic) Open(ctx context.Context, peer client.Peer) (*Conn, error) {
	c, err := t.topic.Open(ctx, peer)
	if err != nil {
		return nil, err
	}
	return t.seal(ctx, c)
}

// DialContext opens a sealed circuit with whoever takes one, as [client.Topic.DialContext] does.
// The result is a [*Conn]. Unless the program accepts circuits, first circuits are read and thrown
// away from now on.
func (t *Topic) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	t.discard()
	c, err := t.topic.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	sealed, err := t.seal(ctx, c.(*client.Conn))
	if err != nil {
		return nil, err
	}
	return sealed, nil
}

// discard has first circuits thrown away from now on, those that wait too, unless somebody accepts.
func (t *Topic) discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.discards = true
	if t.accepts {
		return
	}
	t.queue = slices.DeleteFunc(t.queue, func(c *Conn) bool {
		if !c.Peer().Further {
			t.discardLocked(c)
		}
		return !c.Peer().Further
	})
}

// Listen returns a listener that accepts the sealed circuits of the topic, those that peers open
// beside the first one too. It is to this Topic what [client.Topic.Listen] is to a topic.
func (t *Topic) Listen() net.Listener {
	t.mu.Lock()
	t.accepts = true
	t.listeners++
	t.mu.Unlock()
	l := &listener{topic: t, Listener: t.topic.Listen()} // which has peers told that circuits are taken
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// unlisten notes the end of a listener.
func (t *Topic) unlisten() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listeners--
	if t.listeners > 0 || t.direct {
		return
	}
	t.queue = slices.DeleteFunc(t.queue, func(c *Conn) bool {
		if c.Peer().Further {
			c.Reset(wtproto.CodeDeclined)
		}
		return c.Peer().Further
	})
}

// listener accepts sealed circuits. The listener in it is never accepted from.
type listener struct {
	net.Listener
	topic  *Topic
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	if l.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	c, err := l.topic.accept(l.ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l *listener) Close() (err error) {
	l.once.Do(func() {
		l.cancel(net.ErrClosed)
		err = l.Listener.Close()
		l.topic.unlisten()
	})
	return err
}

// Leave leaves the topic as [client.Topic.Leave] does, and then does what Close does.
func (t *Topic) Leave(ctx context.Context) error {
	err := t.topic.Leave(ctx)
	return errors.Join(err, t.Close())
}

// Close leaves the topic. Circuits that were accepted or opened stay, others are reset with
// CodeLeft. It may be called more than once. The error is always nil.
func (t *Topic) Close() error {
	t.topic.Close()
	t.cancel()
	t.mu.Lock()
	unwanted := slices.Concat(t.queue, t.unused)
	t.queue, t.unused = nil, nil
	t.mu.Unlock()
	for _, c := range unwanted {
		c.Reset(wtproto.CodeLeft)
	}
	t.wg.Wait()
	return nil
}
