package server

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/internal/urgency"
	"github.com/swarmgate/swarmgate/wtproto"
)

// frameWebTransport begins a stream of a WebTransport session, before the session's id.
const frameWebTransport = 0x41

// ownStream is a stream of a WebTransport session that the gateway has opened by itself, because
// the library gives its own streams no priorities. The client cannot tell the two apart.
type ownStream struct {
	quicStream
	link *webTransportLink
	open atomic.Int32 // directions that have not ended
	read atomic.Bool  // the direction from the client has ended
}

// openOwn opens a stream.
func (l *webTransportLink) openOwn() (stream, error) {
	s, err := l.conn.OpenStream()
	if err != nil {
		if _, ok := errors.AsType[*quic.StreamLimitReachedError](err); ok {
			return nil, errNoCredit
		}
		return nil, lost(err)
	}
	w := &ownStream{quicStream: quicStream{s, urgency.NewWriter(s, nil)}, link: l}
	w.open.Store(2)
	head := quicvarint.Append(nil, frameWebTransport)
	head = quicvarint.Append(head, uint64(l.connect.StreamID()))
	if _, err := s.Write(head); err != nil {
		return nil, lost(err)
	}
	w.secure() // a reset stream is of the session too
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || l.session.Context().Err() != nil {
		w.abandon(wtproto.CodePeerGone)
		return nil, clientGone("", l.session.Context().Err())
	}
	l.sending[w], l.own[w] = struct{}{}, struct{}{}
	context.AfterFunc(s.Context(), func() {
		l.mu.Lock()
		delete(l.sending, w)
		l.mu.Unlock()
		w.ended()
	})
	return w, nil
}

// endOwn ends the streams that the library does not know, after the session has ended.
func (l *webTransportLink) endOwn() {
	l.mu.Lock()
	own := l.own
	l.closing, l.own = true, nil
	l.mu.Unlock()
	for w := range own {
		w.Stream.CancelRead(webtransport.WTSessionGoneErrorCode)
		w.Stream.CancelWrite(webtransport.WTSessionGoneErrorCode)
	}
}

// ended notes that a direction has ended.
func (s *ownStream) ended() {
	if s.open.Add(-1) == 0 {
		s.link.mu.Lock()
		defer s.link.mu.Unlock()
		delete(s.link.own, s)
	}
}

// readEnded notes that the direction from the client has ended.
func (s *ownStream) readEnded() {
	if !s.read.Swap(true) {
		s.ended()
	}
}

func (s *ownStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.readEnded()
	}
	return n, s.convert(err)
}

func (s *ownStream) Write(b []byte) (int, error) {
	n, err := s.writer.Write(b)
	return n, s.convert(err)
}

func (s *ownStream) CancelRead(code wtproto.Code) {
	s.Stream.CancelRead(http3Code(code))
	s.readEnded()
}

func (s *ownStream) CancelWrite(code wtproto.Code) { s.Stream.CancelWrite(http3Code(code)) }

// abandon ends both directions.
func (s *ownStream) abandon(code wtproto.Code) {
	s.Stream.CancelRead(http3Code(code))
	s.Stream.CancelWrite(http3Code(code))
}

func (s *ownStream) convert(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		switch {
		case e.Remote:
			code, _ := webTransportCode(e.ErrorCode)
			return remoteReset(code, err)
		case s.link != nil && s.link.session.Context().Err() != nil:
			return clientGone("", err)
		}
		return err
	}
	return lost(err)
}

// http3Code returns the error code of HTTP/3 for a code of WebTransport, as [webTransportCode]
// reads it.
func http3Code(code wtproto.Code) quic.StreamErrorCode {
	return firstStreamCode + quic.StreamErrorCode(code) + quic.StreamErrorCode(code/(streamCodeStep-1))
}
