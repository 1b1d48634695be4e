package server

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

const (
	// maxQlogs is how many may wait for a connection, or read one, at once.
	maxQlogs = 16
	// maxQlogUnread is how many bytes of a log wait for its reader. Then the log ends.
	maxQlogUnread = 4 << 20
	// qlogPatience is how long a reader may take nothing.
	qlogPatience = 10 * time.Second
)

// qlogs gives logs of connections to those who have asked for them before the connections began.
type qlogs struct {
	mu      sync.Mutex
	n       int        // guarded by mu; of waiting ones and those that read
	waiting []*qlogFor // guarded by mu
}

// qlogFor is the log of one connection for one reader. It takes what quic-go writes, without ever
// letting it wait.
type qlogFor struct {
	from netip.Addr // of the connection; zero for any
	wake wake

	mu     sync.Mutex
	unread []byte // guarded by mu
	ended  bool   // guarded by mu; nothing more is taken
}

// ask returns what the next connection from an address is written to, or nil if too many ask.
func (q *qlogs) ask(from netip.Addr) *qlogFor {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == maxQlogs {
		return nil
	}
	l := &qlogFor{from: from, wake: newWake()}
	q.n++
	q.waiting = append(q.waiting, l)
	return l
}

// leave says that nobody reads l any more.
func (q *qlogs) leave(l *qlogFor) {
	l.Close()
	l.take()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n--
	q.waiting = slices.DeleteFunc(q.waiting, func(w *qlogFor) bool { return w == l })
}

// trace is the Tracer of connections. It costs nothing while nobody asks.
func (q *qlogs) trace(ctx context.Context, isClient bool, id quic.ConnectionID) qlogwriter.Trace {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok {
		return nil
	}
	q.mu.Lock()
	i := slices.IndexFunc(q.waiting, func(l *qlogFor) bool { return !l.from.IsValid() || l.from == v.from })
	var l *qlogFor
	if i >= 0 {
		l = q.waiting[i]
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if l == nil {
		return nil
	}
	t := qlogwriter.NewConnectionFileSeq(l, isClient, id, []string{qlog.EventSchema})
	go t.Run() // until the connection has ended, which waits for it
	return t
}

// Write takes a part of the log. It never fails, because quic-go would say so on standard error.
func (l *qlogFor) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.unread = append(l.unread, b...)
		l.ended = len(l.unread) > maxQlogUnread
		l.wake.up()
	}
	return len(b), nil
}

// Close ends the log.
func (l *qlogFor) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake.up()
	return nil
}

// take returns what was not read yet, and whether that is all.
func (l *qlogFor) take() (b []byte, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, l.unread = l.unread, nil
	return b, l.ended
}

// QlogHandler answers GET with the qlog of the next QUIC connection, WebTransport's too, from the
// address in the parameter address, or from any: JSON text sequences until the connection ends.
// It tells of its packets and frames, and never of what they carry. A log of which more than 4 MiB
// are unread ends. The handler is for operators, and sets its own deadlines.
func (s *Server) QlogHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !getOnly(w, r) || r.Method == http.MethodHead {
			return
		}
		var from netip.Addr
		if text := r.URL.Query().Get("address"); text != "" {
			a, err := netip.ParseAddr(text)
			if err != nil {
				http.Error(w, "address is not an IP address", http.StatusBadRequest)
				return
			}
			from = a.Unmap()
		}
		l := s.qlogs.ask(from)
		if l == nil {
			http.Error(w, "too many ask already", http.StatusTooManyRequests)
			return
		}
		defer s.qlogs.leave(l)
		w.Header().Set("Content-Type", "application/qlog+json-seq")
		w.Header().Set("Cache-Control", "no-store")
		c := http.NewResponseController(w)
		c.SetReadDeadline(time.Time{})
		for {
			b, ended := l.take()
			c.SetWriteDeadline(time.Now().Add(qlogPatience))
			if _, err := w.Write(b); err != nil || c.Flush() != nil || ended {
				return
			}
			select {
			case <-l.wake.ch:
			case <-r.Context().Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// addrOf returns the address in the form of what readers ask for.
func addrOf(info *quic.ClientInfo) netip.Addr { return crowd.AddrOf(info.RemoteAddr).Unmap() }
