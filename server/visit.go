package server

import (
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

// farewells is how many visits that had to go are told so in a WebTransport session at once,
// which takes seconds; the others are cut off.
const farewells = 64

// visit is a connection without a session: from its ClientHello, or the request for a WebSocket,
// until a principal is charged for its session, or the WebSocket belongs to one. A visit by QUIC
// lives on in the connection's context. An HTTP/3 connection may carry one session, or requests
// alone.
type visit struct {
	from  netip.Addr           // constant; zero for a WebSocket
	conn  *quic.Conn           // set before the first request; nil for a WebSocket
	cut   func(*refusal)       // ends it without a session; set before enter
	place *crowd.Place[*visit] // set by enter
	once  sync.Once
	began chan struct{} // closed by once, when a session begins; nil for a WebSocket

	mu       sync.Mutex
	session  *session // guarded by mu; while it runs
	farewell bool     // guarded by mu; session holds one of the farewells
}

type visitKey struct{}

// enter gives v, which comes from addr, a place. If there is none, somebody else has to go.
func (s *Server) enter(v *visit, addr net.Addr) {
	place, out := s.visits.Enter(crowd.AddrOf(addr), v)
	v.place = place
	if out == nil {
		return
	}
	r := refuse(LimitVisits, "too many connections without a session")
	if out.Reason == crowd.GroupFull {
		r = refuse(LimitVisitsAddress, "too many connections of your address without a session")
	}
	s.cfg.Observer.refused(r)
	s.dismiss(out.Who, r)
}

// leave gives the place of v back. It may be called again.
func (s *Server) leave(v *visit) { s.visits.Leave(v.place) }

// dismiss ends a visit that has lost its place. It does not wait for the end.
func (s *Server) dismiss(v *visit, r *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session != nil {
		select {
		case s.farewells <- struct{}{}:
			v.farewell = true
			v.session.cancel(r.Error)
			return
		default:
		}
	}
	v.cut(r)
}

// cutConn ends a connection of QUIC.
func cutConn(conn *quic.Conn, r *refusal) {
	if conn.ConnectionState().TLS.NegotiatedProtocol == wtproto.ALPN {
		conn.CloseWithError(quic.ApplicationErrorCode(r.Code), r.Reason)
		return
	}
	conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), r.Reason)
}

// run runs the session of a visit until it ends.
func (s *Server) run(v *visit, l link) {
	ses := newSession(s, l, func() { s.leave(v) })
	v.mu.Lock()
	v.session = ses
	v.mu.Unlock()
	ses.run()
	v.mu.Lock()
	farewell := v.farewell
	v.session = nil
	v.mu.Unlock()
	if farewell {
		<-s.farewells
	}
}
