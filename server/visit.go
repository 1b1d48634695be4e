package server

import (
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

// farewells is how many visits that had to go are told so in a WebTransport session at once,
// which takes seconds; the others are cut off.
const farewells = 64

// visit is a connection without a session: from its ClientHello until a principal is charged for
// its session. It lives on in the connection's context. An HTTP/3 connection may carry one
// session, or requests alone.
type visit struct {
	conn  *quic.Conn           // set before the first request
	place *crowd.Place[*visit] // set before the first request
	once  sync.Once
	began chan struct{} // closed by once, when a session begins

	mu       sync.Mutex
	session  *session // guarded by mu; while it runs
	farewell bool     // guarded by mu; session holds one of the farewells
}

type visitKey struct{}

// enter gives v a place. If there is none, somebody else has to go.
func (a *acceptor) enter(v *visit) {
	place, out := a.server.visits.Enter(crowd.AddrOf(v.conn.RemoteAddr()), v)
	v.place = place
	if out == nil {
		return
	}
	r := refuse(LimitVisits, "too many connections without a session")
	if out.Reason == crowd.GroupFull {
		r = refuse(LimitVisitsAddress, "too many connections of your address without a session")
	}
	a.server.cfg.Observer.refused(r)
	a.dismiss(out.Who, r)
}

// leave gives the place of v back. It may be called again.
func (a *acceptor) leave(v *visit) { a.server.visits.Leave(v.place) }

// dismiss ends a visit that has lost its place. It does not wait for the end.
func (a *acceptor) dismiss(v *visit, r *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session != nil {
		select {
		case a.farewells <- struct{}{}:
			v.farewell = true
			v.session.cancel(r.Error)
			return
		default:
		}
	}
	if v.conn.ConnectionState().TLS.NegotiatedProtocol == wtproto.ALPN {
		v.conn.CloseWithError(quic.ApplicationErrorCode(r.Code), r.Reason)
		return
	}
	v.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), r.Reason)
}

// run runs the session of a visit until it ends.
func (a *acceptor) run(v *visit, l link) {
	s := newSession(a.server, l, func() { a.leave(v) })
	v.mu.Lock()
	v.session = s
	v.mu.Unlock()
	s.run()
	v.mu.Lock()
	farewell := v.farewell
	v.session = nil
	v.mu.Unlock()
	if farewell {
		<-a.farewells
	}
}
