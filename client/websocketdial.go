package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/net/http/httpproxy"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	statusCode  = 4000                   // with which a WebSocket ends that ends with code 0
	maxStatus   = 4999                   // with which it may end
	maxReason   = 123                    // bytes of a reason beside it
	closingTime = time.Second            // for the gateway to answer
	hasteTime   = 100 * time.Millisecond // the same, if it is likely to be gone
)

// wsDialer opens WebSockets with a gateway, through the proxy that the environment names, if it
// does.
type wsDialer struct {
	tcp  dialFunc     // constant
	url  string       // constant; of the gateway's WebSockets
	tls  *tls.Config  // constant
	took atomic.Int64 // nanoseconds, the least that an answer took; 0 before the first
}

// newWSDialer returns what opens WebSockets with the gateway at url, which is trusted as trust
// says.
func newWSDialer(url string, trust *tls.Config, tcp dialFunc) *wsDialer {
	trust = trust.Clone()
	trust.NextProtos = []string{"http/1.1"}
	trust.MinVersion = tls.VersionTLS12                        // what stands before a gateway may have no more
	trust.ClientSessionCache = tls.NewLRUClientSessionCache(1) // for the streams
	return &wsDialer{url: url, tcp: tcp, tls: trust}
}

// wsConn is a WebSocket and the connection that it is on.
type wsConn struct {
	*websocket.Conn
	tcp net.Conn // its Close ends the WebSocket at once
}

// pongFrame is the first byte of a Pong (RFC 6455, 5.2).
const pongFrame = 0x8a

// pong sends a Pong, between two messages of who calls it. The library would not wait for its turn
// and for room in the connection for longer than 5 s, and then end the WebSocket.
func (ws *wsConn) pong(payload []byte) error {
	const masked = 0x80
	frame := []byte{pongFrame, masked | byte(len(payload)), 0, 0, 0, 0}
	mask := frame[2:]
	rand.Read(mask)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	_, err := ws.tcp.Write(frame)
	return err
}

// end closes the WebSocket with a code, and waits for the gateway's answer. What came before that
// would otherwise have TCP tell the gateway of a reset, and not of the code.
func (ws *wsConn) end(code wtproto.Code, reason string) {
	patience := closingTime
	if code == wtproto.CodeIdle {
		patience = hasteTime
	}
	timer := time.AfterFunc(patience, func() { ws.tcp.Close() })
	defer timer.Stop()
	ws.Close(min(statusCode+websocket.StatusCode(min(code, maxStatus)), maxStatus), cut(reason, maxReason))
	ws.tcp.Close()
}

// cut returns as much of text as has n bytes at most, and whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// dial opens a WebSocket. The answer to a Ping is the matter of pinged.
func (d *wsDialer) dial(ctx context.Context, pinged func(payload []byte)) (*wsConn, error) {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	transport := &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if onThisMachine(r.URL) {
				return nil, nil
			}
			return proxy(r.URL)
		},
		DialContext:       d.tcp,
		TLSClientConfig:   d.tls,
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	var ws wsConn
	var asked time.Time
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { ws.tcp = info.Conn },
		WroteHeaders:         func() { asked = time.Now() },
		GotFirstResponseByte: func() { d.answered(time.Since(asked)) },
	})
	var resp *http.Response
	var err error
	ws.Conn, resp, err = websocket.Dial(ctx, d.url, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Subprotocols: []string{wtproto.ALPN},
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			pinged(payload)
			return false
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			return nil, e.Err // without the URL, and what the library says of its steps
		}
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("HTTP status %s", resp.Status)
		}
		return nil, err
	}
	if ws.Subprotocol() != wtproto.ALPN {
		ws.CloseNow()
		return nil, fmt.Errorf("a WebSocket without the subprotocol %s", wtproto.ALPN)
	}
	ws.SetReadLimit(-1) // a stream counts itself
	return &ws, nil
}

// answered notes how long an answer took.
func (d *wsDialer) answered(took time.Duration) {
	for old := d.took.Load(); (old == 0 || int64(took) < old) && !d.took.CompareAndSwap(old, int64(took)); old = d.took.Load() {
	}
}

// rtt returns how long an answer takes.
func (d *wsDialer) rtt() time.Duration { return time.Duration(d.took.Load()) }
