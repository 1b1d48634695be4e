package server

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// webTransportLink is a WebTransport session, the only one of its connection.
type webTransportLink struct {
	conn       *quic.Conn
	session    *webtransport.Session
	connect    *http3.Stream // the CONNECT request's
	controlled bool          // the client uses WebTransport's flow control, so the library writes to connect
	from       page

	mu      sync.Mutex
	sending map[sender]struct{}     // guarded by mu; streams whose direction to the client is open
	own     map[*ownStream]struct{} // guarded by mu; streams that the library does not know
	closing bool                    // guarded by mu; there are to be no more of them
}

// sender is the direction of a stream to the client.
type sender interface{ CancelWrite(wtproto.Code) }

// newWebTransportLink returns the link of a session whose CONNECT request was answered by means of
// keep.
func newWebTransportLink(conn *quic.Conn, session *webtransport.Session, keep *keepStream, from page) *webTransportLink {
	l := &webTransportLink{
		conn: conn, session: session, connect: keep.stream, from: from,
		sending: make(map[sender]struct{}), own: make(map[*ownStream]struct{}),
	}
	for _, id := range flowControlSettings {
		l.controlled = l.controlled || keep.Settings().Other[id] > 0
	}
	context.AfterFunc(session.Context(), l.endOwn)
	return l
}

// flowControlSettings are the HTTP/3 settings by which a client says that it uses WebTransport's
// flow control, if one is above 0: SETTINGS_WT_INITIAL_MAX_DATA, _STREAMS_UNI and _STREAMS_BIDI.
var flowControlSettings = []uint64{0x2b61, 0x2b64, 0x2b65}

func (l *webTransportLink) accept(ctx context.Context) (stream, error) {
	s, err := l.session.AcceptStream(ctx)
	if err != nil {
		return nil, lostSession(err)
	}
	return l.stream(s), nil
}

func (l *webTransportLink) open() (stream, error) {
	if !l.controlled {
		return l.openOwn()
	}
	s, err := l.session.OpenStream() // which counts it
	if err != nil {
		_, connection := errors.AsType[*quic.StreamLimitReachedError](err)
		_, session := errors.AsType[webtransport.StreamLimitReachedError](err)
		_, sessionPtr := errors.AsType[*webtransport.StreamLimitReachedError](err)
		if connection || session || sessionPtr {
			return nil, errNoCredit
		}
		return nil, lostSession(err)
	}
	return l.stream(s), nil
}

// stream returns a stream of the session, and knows of it until its direction to the client has
// ended.
func (l *webTransportLink) stream(s *webtransport.Stream) *webTransportStream {
	w := newWebTransportStream(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		w.CancelWrite(wtproto.CodePeerGone)
		return w
	}
	l.sending[w] = struct{}{}
	context.AfterFunc(s.Context(), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sending, w)
	})
	return w
}

// stopSending ends the direction to the client of each stream. Chromium's pages crash if it is the
// end of their session that ends it: Chromium then tells the page of the streams before the
// session, and lacks a scope of JavaScript for that.
func (l *webTransportLink) stopSending() {
	l.mu.Lock()
	l.closing = true
	sending := slices.Collect(maps.Keys(l.sending))
	l.mu.Unlock()
	for _, w := range sending {
		w.CancelWrite(wtproto.CodePeerGone)
	}
}

// capsuleCloseSession is CLOSE_WEBTRANSPORT_SESSION.
const capsuleCloseSession = 0x2843

// closeWait is how long a client has to take note of the end of its session.
const closeWait = 5 * time.Second

// close tells the client. The CONNECT stream has one writer: the library, if it writes there for
// flow control, else close itself. A capsule of the library's between two parts of ours, or after
// our end of the stream, would cost the code.
func (l *webTransportLink) close(code wtproto.Code, reason string) {
	if !l.controlled {
		l.tell(code, reason)
	}
	l.session.CloseWithError(webtransport.SessionErrorCode(code), reason)
	// The client closes the connection itself. If we close it too, the close can arrive with the
	// capsule and hide its code.
	l.await(l.conn.Context(), closeWait/5)
	l.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

// tell writes the capsule and waits for the client: the library resets the streams in the same
// breath, and browsers, which have no flow control of WebTransport's, then report a lost
// connection instead of the code.
func (l *webTransportLink) tell(code wtproto.Code, reason string) {
	b := quicvarint.Append(nil, capsuleCloseSession)
	b = quicvarint.Append(b, uint64(4+len(reason)))
	b = append(b, byte(code>>24), byte(code>>16), byte(code>>8), byte(code))
	b = append(b, reason...)
	l.stopSending() // QUIC sends resets before the bytes of a stream
	l.connect.SetWriteDeadline(time.Now().Add(closeWait))
	if _, err := l.connect.Write(b); err == nil {
		l.connect.Close()
		l.await(l.session.Context(), closeWait)
	}
}

// await waits for ctx or the end of the connection, for at most d.
func (l *webTransportLink) await(ctx context.Context, d time.Duration) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
	case <-l.conn.Context().Done():
	case <-timeout.C:
	}
}

func (l *webTransportLink) done() <-chan struct{} { return l.session.Context().Done() }
func (l *webTransportLink) remoteAddr() net.Addr  { return l.conn.RemoteAddr() }
func (l *webTransportLink) transport() string     { return "webtransport" }
func (l *webTransportLink) losesCodes() bool      { return true } // browsers: one byte of it, or none
func (l *webTransportLink) page() page            { return l.from }

// webTransportStream is a stream of a webTransportLink.
type webTransportStream struct {
	*webtransport.Stream

	mu     sync.Mutex // of what is set as the stream's deadline
	readBy time.Time  // guarded by mu; the deadline that was asked for
}

func newWebTransportStream(s *webtransport.Stream) *webTransportStream {
	w := &webTransportStream{Stream: s}
	w.look()
	return w
}

// lookEvery is how often a Read that waits looks whether its stream is still one. The library's
// Read of a stream that was reset with WT_SESSION_GONE waits for the end of the session, or for a
// deadline, and a client that lives may let it wait for ever.
const lookEvery = 10 * time.Second

// errSessionGone is what the library means by a deadline that is none.
var errSessionGone = errors.New("server: reset with WT_SESSION_GONE")

func (s *webTransportStream) Read(b []byte) (int, error) {
	for {
		n, err := s.Stream.Read(b)
		switch {
		case err == os.ErrDeadlineExceeded: // in person: after WT_SESSION_GONE. Other deadlines wrap it
			return n, remoteReset(wtproto.CodeNone, errSessionGone)
		case errors.Is(err, os.ErrDeadlineExceeded) && s.look():
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, s.convert(err)
	}
}

// look reports whether the deadline that was asked for is not over yet, and sets the next one.
func (s *webTransportStream) look() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.readBy.IsZero() && !now.Before(s.readBy) {
		return false
	}
	s.setReadLocked(now)
	return true
}

func (s *webTransportStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = t
	return s.setReadLocked(time.Now())
}

func (s *webTransportStream) setReadLocked(now time.Time) error {
	t := now.Add(lookEvery)
	if !s.readBy.IsZero() && s.readBy.Before(t) {
		t = s.readBy
	}
	return s.Stream.SetReadDeadline(t)
}

func (s *webTransportStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	return n, s.convert(err)
}

func (s *webTransportStream) CloseWrite() error { return s.Stream.Close() }

// secure does nothing: on a stream of the client, PEER is an answer only, and a reset is one too.
func (s *webTransportStream) secure() {}

func (s *webTransportStream) CancelRead(code wtproto.Code) {
	s.Stream.CancelRead(webtransport.StreamErrorCode(code))
}

func (s *webTransportStream) CancelWrite(code wtproto.Code) {
	s.Stream.CancelWrite(webtransport.StreamErrorCode(code))
}

func (s *webTransportStream) convert(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*webtransport.StreamError](err); ok {
		if !e.Remote {
			return err
		}
		return remoteReset(wtproto.Code(e.ErrorCode), err)
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok { // the cause of a stream's context is QUIC's own error
		if !e.Remote {
			return err
		}
		code, _ := webTransportCode(e.ErrorCode)
		return remoteReset(code, err)
	}
	if err != nil && strings.Contains(err.Error(), unknownCode) {
		return remoteReset(wtproto.CodeNone, err)
	}
	return lostSession(err)
}

// webTransportCode returns the code of WebTransport for h, an HTTP/3 error code, if h is in
// WebTransport's range. Every 31st number of the range is reserved (RFC 9114, section 8.1).
func webTransportCode(h quic.StreamErrorCode) (wtproto.Code, bool) {
	if h < firstStreamCode || h > lastStreamCode || (h-0x21)%streamCodeStep == 0 {
		return 0, false
	}
	n := h - firstStreamCode
	return wtproto.Code(n - n/streamCodeStep), true
}

// WebTransport's range of HTTP/3 error codes.
const (
	firstStreamCode = 0x52e4a40fa8db
	lastStreamCode  = 0x52e5ac983162
	streamCodeStep  = 0x1f
)

// unknownCode is in the text of the library's error for a stream that was reset with a code
// outside WebTransport's range, as by a page that is reloaded. The error has no type.
const unknownCode = "failed to convert stream error"

// lostSession marks the end of a session.
func lostSession(err error) error {
	_, session := errors.AsType[*webtransport.SessionError](err)
	_, reset := errors.AsType[*quic.StreamError](err)
	_, h3 := errors.AsType[*http3.Error](err)
	if session || reset || h3 {
		return clientGone("", err)
	}
	return lost(err)
}

// keepStream remembers the stream of a CONNECT request, which [webtransport.Server.Upgrade] takes
// and does not give back.
type keepStream struct {
	http.ResponseWriter
	stream *http3.Stream
}

func (k *keepStream) Flush() { k.ResponseWriter.(http.Flusher).Flush() }

func (k *keepStream) ReceivedSettings() <-chan struct{} {
	return k.ResponseWriter.(http3.Settingser).ReceivedSettings()
}

func (k *keepStream) Settings() *http3.Settings {
	return k.ResponseWriter.(http3.Settingser).Settings()
}

func (k *keepStream) HTTPStream() *http3.Stream {
	k.stream = k.ResponseWriter.(http3.HTTPStreamer).HTTPStream()
	return k.stream
}
