package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// comeBack is how many sessions a second may come back after a GOAWAY, on average.
const comeBack = 200

// goodbye is how long clients without circuits get to hear of GOAWAY.
const goodbye = time.Second

// Server is a gateway. Its methods may be called by several goroutines at once.
type Server struct {
	// constant after New
	cfg     Config
	log     *slog.Logger
	pages   pages
	router  *router
	ledger  *ledger
	visits  *crowd.Crowd[*visit]
	sockets *webSockets
	qlogs   qlogs
	remains *remains
	ctx     context.Context // ends with the server
	cancel  context.CancelCauseFunc

	farewells   chan struct{} // holds one for each visit that is being told why it has to go
	byWebSocket atomic.Bool   // WebSocketHandler was called

	mu       sync.Mutex
	sessions map[wtproto.Secret]*session // guarded by mu; the newest with each secret
	live     map[*session]struct{}       // guarded by mu; all that have not ended
	ended    chan struct{}               // guarded by mu; closed and replaced when a session ends
	addr     net.Addr                    // guarded by mu; set by Serve
	serving  bool                        // guarded by mu
	draining bool                        // guarded by mu; new sessions are refused
	socket   *udp.Conn                   // guarded by mu; Serve's, if it is one of UDP
	done     chan struct{}               // closed when Serve returns
	stuck    error                       // set before done is closed; what Serve could not end
	started  chan struct{}               // closed when Serve has begun to listen
}

// handshake is how long a Server that hands its socket on waits for connections that have begun.
const handshake = time.Second

// goingAway is the reason of GOAWAY, and of the refusal of sessions that come later.
const goingAway = "the gateway is going away"

// New returns a Server ready for [Server.Serve]. It opens no socket and starts no goroutine.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("server: config: %w", err)
	}
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{
		cfg:      cfg,
		log:      cfg.Logger,
		pages:    newPages(&cfg),
		ledger:   cfg.ledger(),
		remains:  newRemains(),
		visits:   crowd.New[*visit](cfg.maxVisits(), cfg.MaxSessionsPerPrincipal, cfg.TrustedProxies...),
		ctx:      ctx,
		cancel:   cancel,
		sessions: make(map[wtproto.Secret]*session),
		live:     make(map[*session]struct{}),
		ended:    make(chan struct{}),
		done:     make(chan struct{}),
		started:  make(chan struct{}),

		farewells: make(chan struct{}, farewells),
	}
	s.sockets = newWebSockets(s)
	s.router = newRouter(&s.cfg, s.ledger, s.remains, ctx)
	return s, nil
}

// Serve takes sessions from conn until [Server.Shutdown] or [Server.Close], and returns
// http.ErrServerClosed then, after everything has ended. Another error says that conn failed, or
// what had not ended after 8 s, such as a circuit whose network hangs; its goroutines are left
// behind then. Serve is called once. conn stays the caller's to close; a *net.UDPConn is the
// fastest.
func (s *Server) Serve(conn net.PacketConn) error {
	s.mu.Lock()
	if s.serving || s.ctx.Err() != nil {
		s.mu.Unlock()
		return http.ErrServerClosed
	}
	s.serving = true
	s.addr = conn.LocalAddr()
	s.mu.Unlock()
	defer close(s.done)

	a, err := newAcceptor(s, conn)
	if err != nil {
		return fmt.Errorf("server: listen: %w", err)
	}
	s.mu.Lock()
	s.socket, _ = a.transport.Conn.(*udp.Conn)
	s.mu.Unlock()
	close(s.started)
	var wg sync.WaitGroup
	wg.Go(func() { s.router.memory.run(s.ctx) })
	err = a.accept()
	closing := s.ctx.Err() != nil
	s.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
	ended := make(chan struct{})
	go func() {
		a.wait()
		s.sockets.wait()
		s.router.close()
		wg.Wait()
		close(ended)
	}()
	s.stuck = s.remains.await(ended)
	a.close()
	switch {
	case !closing:
		return errors.Join(fmt.Errorf("server: accept: %w", err), s.stuck)
	case s.stuck != nil:
		return s.stuck
	}
	return http.ErrServerClosed
}

// Addr returns the address of Serve's socket, or nil before Serve.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Started is closed once Serve takes sessions.
func (s *Server) Started() <-chan struct{} { return s.started }

// Shutdown ends kindly: new sessions are refused ([Config.Handover] leaves them to another process)
// and the others are told to go away, each with a time to come back that is spread so that not all
// come at once. When all have ended or have no circuits, or ctx has ended, it does what Close does.
// It returns ctx's error if circuits were cut off, and what Close returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.cfg.Handover && s.socket != nil {
		s.socket.LeaveNew()
	}
	s.draining = true
	all := make([]*session, 0, len(s.live))
	for ses := range s.live {
		all = append(all, ses)
	}
	s.mu.Unlock()
	spread := time.Duration(len(all)) * time.Second / comeBack
	for _, ses := range all {
		ses.goAway(time.Second+time.Duration(rand.Float64()*float64(spread)), goingAway)
	}
	err := s.drained(ctx)
	if stuck := s.Close(); stuck != nil {
		return errors.Join(err, stuck)
	}
	return err
}

// drained waits until all sessions have ended, or none has a circuit and all have had the time for
// goodbye, or ctx ends, which is an error if it cuts a circuit off.
func (s *Server) drained(ctx context.Context) error {
	heard := time.Now().Add(goodbye)
	if s.cfg.Handover {
		settled := time.NewTimer(handshake)
		defer settled.Stop()
		select {
		case <-settled.C:
		case <-ctx.Done():
		}
	}
	for {
		s.mu.Lock()
		busy, alone := false, len(s.live) == 0
		for ses := range s.live {
			busy = busy || ses.circuits() > 0
		}
		ended := s.ended
		s.mu.Unlock()
		if alone || !busy && !time.Now().Before(heard) {
			return nil
		}
		look := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ended:
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			if !busy {
				return nil
			}
			return context.Cause(ctx)
		}
		look.Stop()
	}
}

// Close ends all sessions with CodeShutdown, and waits for everything that Serve started, for 8 s
// at most: then it returns an error that says what has not ended. It may be called more than once.
func (s *Server) Close() error {
	s.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
	s.mu.Lock()
	serving := s.serving
	s.mu.Unlock()
	if !serving {
		return nil
	}
	<-s.done
	return s.stuck
}

// Sessions returns how many sessions there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// replaceWait is how long a session waits for the circuits of an older one that it replaces. They
// end at once, unless their network hangs.
const replaceWait = 2 * time.Second

// register makes ses known by its secret once its HELLO was taken. An older session with the same
// secret ends, and register returns after its circuits have: others are never connected with both.
func (s *Server) register(ses *session) error {
	s.mu.Lock()
	if s.draining && !s.cfg.Handover {
		s.mu.Unlock()
		return wtproto.Errorf(wtproto.CodeShutdown, goingAway)
	}
	if s.draining { // it came just before
		defer ses.goAway(time.Second, goingAway)
	}
	old := s.sessions[ses.secret]
	s.sessions[ses.secret] = ses
	s.live[ses] = struct{}{}
	s.mu.Unlock()
	if old == nil {
		return nil
	}
	old.cancel(wtproto.Errorf(wtproto.CodeReplaced, "a newer session has the same secret"))
	timeout := time.NewTimer(replaceWait)
	defer timeout.Stop()
	select {
	case <-old.clear:
	case <-timeout.C:
	case <-ses.ctx.Done():
	}
	return context.Cause(ses.ctx)
}

// forget is called for every session that has ended.
func (s *Server) forget(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[ses.secret] == ses {
		delete(s.sessions, ses.secret)
	}
	delete(s.live, ses)
	close(s.ended)
	s.ended = make(chan struct{})
}
