package client

import (
	"net"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	firstWindow = 64 << 10  // bytes that a stream may send before the gateway has granted any
	maxUnsent   = chunkSize // bytes that Write has taken and the WebSocket has not, and of a message
)

// sending is the sending direction of a wsStream: what it has still to say. It does no I/O and no
// locking.
type sending struct {
	window  uint64         // offset up to which the gateway lets this side send
	sent    uint64         // offset
	bytes   fifo           // written and not sent
	secured int            // how many of bytes are sent though the direction is reset
	end     error          // of Write: net.ErrClosed, or the *resetError of the gateway
	fin     bool           // the end is to be sent after bytes
	over    bool           // the end or a reset was sent, or the gateway has stopped the direction
	reset   wtproto.Signal // to be sent after bytes
	stop    wtproto.Signal // to be sent; it is about the other direction
}

// write takes a part of p, and returns how much.
func (s *sending) write(p []byte) int {
	n := min(len(p), maxUnsent-s.bytes.size)
	s.bytes.write(p[:n])
	return n
}

// cancel ends the direction with code: what was written and is not secured is not sent.
func (s *sending) cancel(code wtproto.Code) {
	if s.over || s.reset.Word != "" {
		return
	}
	s.keep(s.secured)
	s.end, s.fin = net.ErrClosed, false
	s.reset = wtproto.Signal{Word: wtproto.SignalReset, Number: uint64(code)}
}

// stopped takes that the gateway reads no more, and reports whether that ends what this side had
// not ended.
func (s *sending) stopped(err error) bool {
	open := s.end == nil
	if open {
		s.end = err
	}
	s.keep(0)
	s.fin, s.over, s.reset = false, true, wtproto.Signal{}
	return open
}

// keep forgets all but the first n bytes.
func (s *sending) keep(n int) {
	kept := make([]byte, n)
	s.bytes.read(kept)
	s.bytes.clear()
	s.bytes.write(kept)
	s.secured = n
}

// next returns the next message, for which it may use buf, or the type 0 if there is none now.
func (s *sending) next(buf []byte) (websocket.MessageType, []byte) {
	n := int(min(uint64(s.bytes.size), s.window-s.sent, uint64(len(buf))))
	switch {
	case s.stop.Word != "":
		text := s.stop.String()
		s.stop = wtproto.Signal{}
		return websocket.MessageText, append(buf[:0], text...)
	case n > 0:
		s.bytes.read(buf[:n])
		s.sent += uint64(n)
		s.secured = max(0, s.secured-n)
		return websocket.MessageBinary, buf[:n]
	case s.bytes.size > 0:
		return 0, nil
	case s.reset.Word != "":
		text := s.reset.String()
		s.reset, s.over = wtproto.Signal{}, true
		return websocket.MessageText, append(buf[:0], text...)
	case s.fin && !s.over:
		s.over = true
		return websocket.MessageText, append(buf[:0], wtproto.SignalFin...)
	}
	return 0, nil
}

// ready reports whether next returns a message.
func (s *sending) ready() bool {
	return s.stop.Word != "" || s.bytes.size > 0 && s.window > s.sent ||
		s.bytes.size == 0 && (s.reset.Word != "" || s.fin && !s.over)
}

// done reports whether the direction has ended, and nothing is to be said any more.
func (s *sending) done() bool { return s.over && s.stop.Word == "" }
