package server

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file moves the messages of a socket.

// run serves the socket until its WebSocket has ended, and everything that belongs to it.
func (s *socket) run() {
	written := make(chan struct{})
	s.wg.Go(func() {
		s.writeLoop()
		close(written)
	})
	first := time.AfterFunc(s.all.server.cfg.HelloTimeout, s.silent)
	s.arm()
	err := s.readLoop(first)
	first.Stop()
	s.mu.Lock()
	closing := s.closing != nil
	s.mu.Unlock()
	if closing { // the writer reads on, until the client has answered
		<-written
	}
	s.conn.abort()
	s.ws.CloseNow()
	s.end(err)
	if s.link != nil {
		s.link.leave(s)
	}
	s.wg.Wait()
}

// silent closes a WebSocket whose first message has not come in time.
func (s *socket) silent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		s.failLocked(wtproto.Errorf(wtproto.CodeIdle, "no first message in %v", s.all.server.cfg.HelloTimeout))
	}
}

// readLoop reads messages until the WebSocket ends.
func (s *socket) readLoop(first *time.Timer) error {
	for {
		typ, r, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		began := s.link != nil
		fault := s.message(typ, r)
		if !began && s.link != nil {
			first.Stop()
		}
		if e, ok := errors.AsType[*wtproto.Error](fault); ok {
			s.fail(e)
			return fault
		}
		if fault != nil {
			return fault
		}
	}
}

// message takes a message. An [*wtproto.Error] is the client's fault, another error the end of the
// WebSocket.
func (s *socket) message(typ websocket.MessageType, r io.Reader) error {
	if typ == websocket.MessageBinary {
		if s.link == nil {
			return wtproto.Errorf(wtproto.CodeProtocol, "the first message has to be session or stream")
		}
		return s.bytes(r)
	}
	b, err := io.ReadAll(io.LimitReader(r, wtproto.MaxSignal+1))
	if err != nil {
		return err
	}
	if len(b) > wtproto.MaxSignal {
		return wtproto.Errorf(wtproto.CodeTooLarge, "a signal of more than %d bytes", wtproto.MaxSignal)
	}
	sig, err := wtproto.ParseSignal(b)
	if err != nil {
		return err
	}
	if s.link == nil {
		return s.all.begin(s, sig)
	}
	return s.signalled(sig)
}

// bytes takes a message of bytes.
func (s *socket) bytes(r io.Reader) error {
	for total := 0; ; {
		s.mu.Lock()
		for s.control && s.in.n >= initialSocketWindow && s.inEnd == nil && s.closing == nil {
			s.waiting = true
			s.mu.Unlock()
			s.room.wait(time.Time{})
			s.mu.Lock()
			s.waiting = false
		}
		space := s.in.space()
		s.mu.Unlock()
		n, err := r.Read(space)
		total += n
		s.mu.Lock()
		fault := s.receivedLocked(n, total)
		s.mu.Unlock()
		switch {
		case fault != nil:
			return fault
		case errors.Is(err, io.EOF):
			if total == 0 {
				return s.idles()
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// receivedLocked counts n bytes in the space of the inbox, of a message that has total up to now.
func (s *socket) receivedLocked(n, total int) error {
	var fault error
	switch {
	case n == 0:
	case total > wtproto.MaxBinary:
		fault = wtproto.Errorf(wtproto.CodeTooLarge, "a message of more than %d bytes", wtproto.MaxBinary)
	case s.inOver:
		fault = wtproto.Errorf(wtproto.CodeProtocol, "bytes after the end of the direction")
	case !s.control && !s.flow.receive(n):
		fault = wtproto.Errorf(wtproto.CodeProtocol, "more bytes than the window has room for")
	}
	if fault != nil {
		n = 0
	}
	s.in.filled(n)
	s.readable.up()
	return fault
}

// signalled takes a signal that is not the first.
func (s *socket) signalled(sig wtproto.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch sig.Word {
	case wtproto.SignalSession, wtproto.SignalStream, wtproto.SignalWindow:
		return wtproto.Errorf(wtproto.CodeProtocol, "%q at the wrong time, or from the wrong side", sig.Word)
	case wtproto.SignalFin:
		if s.inEnd == nil {
			s.inEnd = io.EOF
			s.readable.up()
			s.sendable.up()
		}
		s.inOver = true
		return nil
	case wtproto.SignalReset:
		if s.inEnd == nil {
			s.endInLocked(remoteReset(wtproto.Code(sig.Number), nil))
		}
		s.inOver = true
		return nil
	case wtproto.SignalStop:
		if s.outEnd == nil && !s.outDone {
			s.endOutLocked(remoteReset(wtproto.Code(sig.Number), nil))
		}
		return nil
	}
	return s.idles()
}

// idles counts a message that says nothing.
func (s *socket) idles() error {
	if s.idle.Allow() {
		return nil
	}
	return wtproto.Errorf(wtproto.CodeRateLimited, "more than %d messages a second that say nothing", idleRate)
}

// pinged takes a Ping, which the writer answers. Of several that come meanwhile only the last one
// is answered.
func (s *socket) pinged(payload []byte) {
	if err := s.idles(); err != nil {
		s.fail(err.(*wtproto.Error))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pong = append([]byte{}, payload...)
	s.sendable.up()
}

// writeLoop sends what there is to send, and closes the WebSocket in the end.
func (s *socket) writeLoop() {
	for {
		s.mu.Lock()
		send := s.nextLocked()
		over := s.dead
		s.mu.Unlock()
		switch {
		case over:
			return
		case send == nil:
			s.sendable.wait(time.Time{})
		case !send():
			return
		}
	}
}

// nextLocked returns what sends the next thing, and reports whether to go on, or nil.
func (s *socket) nextLocked() (send func() bool) {
	switch f := s.closing; {
	case s.dead:
		return nil
	case f != nil && !(s.control && len(s.unsent) > 0):
		return func() bool { return s.sayFarewell(*f) }
	case s.pong != nil:
		payload := s.pong
		s.pong = nil
		return func() bool { return s.sendFrame(pongFrame, payload) }
	case s.pingDue:
		s.pingDue, s.asked = false, time.Now()
		return s.sendPing
	case s.window > 0:
		sig := wtproto.Signal{Word: wtproto.SignalWindow, Number: uint64(s.window)}
		s.window = 0
		return func() bool { return s.sendSignal(sig) }
	case len(s.signals) > 0:
		sig := s.signals[0]
		s.signals = s.signals[1:]
		return func() bool { return s.sendSignal(sig) }
	case len(s.unsent) > 0:
		b := s.unsent
		s.unsent = nil
		s.writable.up()
		return func() bool { return s.sendBytes(b) }
	case s.fin && !s.outDone:
		s.outDone = true
		return func() bool { return s.sendSignal(wtproto.Signal{Word: wtproto.SignalFin}) }
	case s.outDone && s.inEnd != nil && !s.control: // a control stream is closed by the session
		return func() bool {
			s.close(websocket.StatusNormalClosure, "", closeWait)
			return true
		}
	}
	return nil
}

func (s *socket) sendSignal(sig wtproto.Signal) bool {
	return s.sent(s.ws.Write(context.Background(), websocket.MessageText, []byte(sig.String())))
}

func (s *socket) sendBytes(b []byte) bool {
	err := s.ws.Write(context.Background(), websocket.MessageBinary, b)
	unsentPool.Put((*[maxUnsent]byte)(b[:maxUnsent]))
	return s.sent(err)
}

// sent ends the connection if a message could not be sent, and reports whether to go on.
func (s *socket) sent(err error) bool {
	if err != nil {
		s.conn.abort()
	}
	return err == nil
}

// sayFarewell closes the WebSocket, and waits for its end.
func (s *socket) sayFarewell(f farewell) bool {
	cut := time.AfterFunc(f.within, s.conn.abort)
	defer cut.Stop()
	s.ws.Close(f.status, f.reason)
	return false
}

// arm has the next Ping sent, after a while.
func (s *socket) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.wg.Add(1)
	s.pinger = time.AfterFunc(s.all.server.cfg.WebSocketPing, func() {
		defer s.wg.Done()
		s.ping()
	})
}

// ping has a Ping sent, or cuts the connection if nothing has come since the last one. That nothing
// has come says nothing while this side does not read, or while a write waits, which has its own
// end.
func (s *socket) ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked.IsZero() && !s.waiting && s.conn.writing.Load() == 0 && !s.conn.heardSince(s.asked) {
		s.conn.abort()
		return
	}
	s.pingDue = true
	s.sendable.up()
}

// sendPing sends a Ping. The client has from then on to answer it.
func (s *socket) sendPing() bool {
	sent := s.sendFrame(pingFrame, nil)
	if sent {
		s.arm()
	}
	return sent
}

// The first bytes of frames of WebSocket that are whole (RFC 6455, 5.2).
const (
	pingFrame = 0x89
	pongFrame = 0x8a
)

// sendFrame sends a short frame between two messages. The library would not wait for its turn and
// for room in the connection for longer than 5 s, and then end the connection.
func (s *socket) sendFrame(first byte, payload []byte) bool {
	_, err := s.conn.Write(append([]byte{first, byte(len(payload))}, payload...))
	return s.sent(err)
}
