package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxHTTPConns is how many TCP connections one listener has at once, and maxHTTPConnsAddress how
// many of them an IPv4 address or IPv6 /64 has. A further connection closes the one whose last
// request is the oldest.
const (
	maxHTTPConns        = 1024
	maxHTTPConnsAddress = 256
)

// doors are the limits of the connections of sites.
type doors struct {
	perSecond int                                  // of an address, twice as many at once; negative for no limit
	shared    []netip.Prefix                       // of proxies, which have no limits of addresses
	refused   func(server.LimitName, wtproto.Code) // called for each connection that is closed because of a limit
}

// listener returns a listener that applies the limits to the connections of l.
func (d doors) listener(l net.Listener) *crowd.Listener {
	return crowd.NewListener(l, crowd.Config{
		Total: maxHTTPConns, Each: maxHTTPConnsAddress, PerSecond: float64(d.perSecond), Burst: 2 * d.perSecond, Shared: d.shared,
		Refused: func(r crowd.Reason) {
			switch r {
			case crowd.Full:
				d.refused(server.LimitHTTP, wtproto.CodeNone)
			case crowd.GroupFull:
				d.refused(server.LimitHTTPAddress, wtproto.CodeNone)
			case crowd.TooOften:
				d.refused(server.LimitHandshakes, wtproto.CodeNone)
			}
		},
	})
}

// Paths for operators.
const (
	healthPath     = "/healthz"
	readyPath      = "/readyz"
	topicsPath     = "/api/topics"
	principalsPath = "/api/principals"
	metricsPath    = "/metrics"
	pprofPath      = "/debug/pprof/"
	qlogPath       = "/debug/qlog"
)

// addPprof adds what go tool pprof asks for to the reports.
func addPprof(reports map[string]http.Handler) {
	reports[pprofPath] = http.HandlerFunc(pprof.Index)
	for name, h := range map[string]http.HandlerFunc{"cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		reports[pprofPath+name] = h
	}
}

// addPublic adds the public handlers to mux: the info document, sessions over WebSocket, the
// console, the client module, and the answer to a health check.
func addPublic(mux *http.ServeMux, isReady func() bool, info, sessions http.Handler) {
	mux.Handle(checkPattern, readiness(isReady, func() []string { return nil }))
	mux.Handle("GET "+wtproto.InfoPath, info)
	mux.Handle("GET "+wtproto.Path, sessions)
	addPages(mux)
}

// adminHandler answers operators. isReady says whether the gateway accepts sessions, and troubles
// what somebody should look at although it does, a line each. reports are the other handlers, by
// path.
func adminHandler(isReady func() bool, troubles func() []string, reports map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.Handle("GET "+readyPath, readiness(isReady, troubles))
	mux.Handle(checkPattern, readiness(isReady, troubles))
	for path, h := range reports {
		mux.Handle("GET "+path, h)
	}
	return mux
}

// checkPattern is what HAProxy asks if it is not told what to ask.
const checkPattern = "OPTIONS /{$}"

// readiness tells balancers whether the gateway accepts sessions, and operators what troubles it.
func readiness(isReady func() bool, troubles func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !isReady() {
			writeText(w, http.StatusServiceUnavailable, "no new sessions")
			return
		}
		writeText(w, http.StatusOK, "%s", strings.Join(append([]string{"ready"}, troubles()...), "\n"))
	})
}

func writeText(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, format+"\n", args...)
}

// checkHost refuses requests for hosts that are neither an IP address nor this machine's localhost
// nor one of names. A page elsewhere can point a name of its own at this machine (DNS rebinding),
// and then has the same origin as the answers of next. A request without a host comes from no
// page: health checks of HAProxy send such ones.
func checkHost(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "" && !isHost(names, r.Host) {
			http.Error(w, "this host is not configured", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isHost reports whether a Host header is one that a page elsewhere cannot have.
func isHost(names []string, header string) bool {
	at, err := hostname.ParseHostPort(header)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(at.Host)
	return err == nil || hostname.IsLocalhost(at.Host) || slices.Contains(names, at.Host)
}

// checkOrigin refuses requests that a page elsewhere makes, which could cost something even if it
// cannot read the answer. People may follow a link from there.
func checkOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origins := r.Header.Values("Origin")
		foreign := len(origins) > 1 || len(origins) == 1 && !isOwn(origins[0], r.Host)
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			foreign = foreign || r.Header.Get("Sec-Fetch-Mode") != "navigate"
		}
		if foreign {
			http.Error(w, "this is not for pages of other origins", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwn reports whether a page of an origin comes from the host of its request. A proxy may have
// terminated TLS.
func isOwn(origin, host string) bool {
	o, err := hostname.ParseOrigin(origin)
	if err != nil {
		return false
	}
	asked, err := hostname.ParseOrigin(o.Scheme + "://" + host)
	return err == nil && asked == o
}

// site is an HTTP server on its listener.
type site struct {
	name     string // for errors and logs
	listener net.Listener
	tls      *tls.Config // nil for plain HTTP
	server   *http.Server
}

// newSite returns a site on inner, of plain HTTP if secure is nil. Its requests have no body, so
// the timeouts are short.
func newSite(name string, inner net.Listener, d doors, secure *tls.Config, h http.Handler, log *slog.Logger) *site {
	l := d.listener(inner)
	return &site{name: name, listener: l, tls: secure, server: &http.Server{
		Handler:           h,
		TLSConfig:         secure,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateActive:
				l.Renew(c)
			case http.StateHijacked: // a WebSocket: the server counts it
				l.Release(c)
			}
		},
		ErrorLog: slog.NewLogLogger(log.With("site", name).Handler(), slog.LevelDebug), // mistakes of strangers
	}}
}

// serve answers until the site is closed, which is not an error.
func (s *site) serve() error {
	var err error
	if s.tls != nil {
		err = s.server.ServeTLS(s.listener, "", "")
	} else {
		err = s.server.Serve(s.listener)
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// url returns the address of the site on this machine.
func (s *site) url() string {
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(s.listener.Addr()).String()
}

// close ends the site and its connections.
func (s *site) close() error { return s.server.Close() }
