package messages

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"slices"
	"time"
)

// step is how much memory a message gets before its bytes come, so that a length costs nothing.
const step = 64 << 10

// Conn sends and receives messages over a connection. Any number of goroutines may use it;
// messages of several senders do not mix.
//
// The end of a context ends a call that waits if the connection has deadlines, as every
// [net.Conn] has: it sets one, which the call clears before it returns. A connection without
// deadlines notices a context only between messages; close it to end a call. After a deadline or
// the end of a context, the next Receive goes on where the last one stopped.
type Conn struct {
	rw  io.ReadWriter
	max int64

	sending chan struct{} // holds a token while somebody sends
	out     []byte        // owned by who sends: the buffer
	sent    error         // owned by who sends: why nothing can be sent any more

	receiving chan struct{} // holds a token while somebody receives
	head      [headSize]byte
	at        int    // owned by who receives: bytes of head that came
	data      []byte // owned by who receives: what came of the message
	received  error  // owned by who receives: why nothing can be received any more
}

// New returns a Conn over rw. It neither reads nor writes.
func New(rw io.ReadWriter, cfg Config) *Conn {
	return &Conn{rw: rw, max: cfg.maxSize(), sending: make(chan struct{}, 1), receiving: make(chan struct{}, 1)}
}

// SendText sends a text, which has to be UTF-8.
func (c *Conn) SendText(ctx context.Context, text string) error {
	return c.Send(ctx, Message{Text, []byte(text)})
}

// SendJSON sends v as [json.Marshal] writes it.
func (c *Conn) SendJSON(ctx context.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.Send(ctx, Message{JSON, b})
}

// SendBytes sends bytes.
func (c *Conn) SendBytes(ctx context.Context, b []byte) error {
	return c.Send(ctx, Message{Bytes, b})
}

// Send sends a message. It returns once the connection has taken all of it, and waits while the
// peer does not read. A message that is too large is a [*SizeError], and one that is not what its
// kind says an [ErrMalformed]; nothing was sent then, and others may be. If a part was sent, the
// error is a [*PartError].
func (c *Conn) Send(ctx context.Context, m Message) error {
	if size := int64(len(m.Data)); size > c.max {
		return &SizeError{size, c.max}
	}
	if err := m.check(); err != nil {
		return err
	}
	if err := enter(ctx, c.sending); err != nil {
		return err
	}
	defer leave(c.sending)
	if c.sent != nil {
		return c.sent
	}
	c.out = m.Append(c.out[:0])
	defer func() {
		if cap(c.out) > 2*step {
			c.out = nil // a large message does not hold memory for ever
		}
	}()
	var n int
	err := within(ctx, c.writeDeadline(), func() (err error) {
		n, err = c.rw.Write(c.out)
		return err
	})
	if err == nil || n == len(c.out) {
		return nil
	}
	if n > 0 {
		err = &PartError{err}
		c.sent = err
	}
	return err
}

// Receive returns the next message: a text, a JSON value, bytes, or a message of the programs'
// own kinds. It skips kinds that it does not know. Data belongs to the caller.
//
// The error is io.EOF if the peer has ended its side after a message, io.ErrUnexpectedEOF within
// one, a [*SizeError] or [ErrMalformed] if what comes is not a message, or that of the
// connection.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	if err := enter(ctx, c.receiving); err != nil {
		return Message{}, err
	}
	defer leave(c.receiving)
	for {
		if c.received != nil {
			return Message{}, c.received
		}
		var m Message
		if err := within(ctx, c.readDeadline(), func() error { return c.read(&m) }); err != nil {
			if malformed(err) {
				c.received = err
			}
			return Message{}, err
		}
		if m.Kind.known() {
			return m, nil
		}
	}
}

// malformed reports whether err means that the bytes that follow are not messages.
func malformed(err error) bool {
	_, size := errors.AsType[*SizeError](err)
	return size || errors.Is(err, ErrMalformed)
}

// read reads a message, or the rest of one that an earlier call has begun.
func (c *Conn) read(m *Message) error {
	for c.at < headSize {
		n, err := c.rw.Read(c.head[c.at:])
		if c.at += n; c.at < headSize && err != nil {
			return early(err, c.at > 0)
		}
	}
	size := int64(binary.BigEndian.Uint32(c.head[1:]))
	if size > c.max {
		return &SizeError{size, c.max}
	}
	for int64(len(c.data)) < size {
		have := len(c.data)
		c.data = slices.Grow(c.data, int(min(size-int64(have), step)))
		n, err := c.rw.Read(c.data[have:min(int64(cap(c.data)), size)])
		if c.data = c.data[:have+n]; int64(len(c.data)) < size && err != nil {
			return early(err, true)
		}
	}
	*m = Message{Kind(c.head[0]), c.data}
	c.at, c.data = 0, nil
	return m.check()
}

// early returns err, and for an end within a message one that says so.
func early(err error, within bool) error {
	if within && err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// All ranges over the messages that [Conn.Receive] returns until the peer has ended its side. Any
// other error is the last pair.
func (c *Conn) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Receive(ctx)
			if err == io.EOF || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// ReceiveJSON returns the next message as a T. If it is not JSON, or not that of a T, it is an
// error, and the next message can be received.
func ReceiveJSON[T any](ctx context.Context, c *Conn) (T, error) {
	var v T
	m, err := c.Receive(ctx)
	if err == nil {
		err = m.Decode(&v)
	}
	return v, err
}

// enter waits until nobody else has the token.
func enter(ctx context.Context, token chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func leave(token chan struct{}) { <-token }

// readDeadline returns how a deadline for reading is set, nil if it is not.
func (c *Conn) readDeadline() func(time.Time) error {
	if d, ok := c.rw.(interface{ SetReadDeadline(time.Time) error }); ok {
		return d.SetReadDeadline
	}
	return nil
}

// writeDeadline returns how a deadline for writing is set, nil if it is not.
func (c *Conn) writeDeadline() func(time.Time) error {
	if d, ok := c.rw.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline
	}
	return nil
}

// within calls f, which the end of ctx makes fail by a deadline. The error is then that of ctx.
func within(ctx context.Context, setDeadline func(time.Time) error, f func() error) error {
	if ctx.Done() == nil || setDeadline == nil {
		return f()
	}
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(set)
		_ = setDeadline(time.Unix(1, 0)) // a connection that is closed ends f by itself
	})
	err := f()
	if stop() {
		return err
	}
	<-set
	_ = setDeadline(time.Time{})
	if err != nil && ctx.Err() != nil && isTimeout(err) {
		return context.Cause(ctx)
	}
	return err
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}
