package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
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
	refused   func(server.LimitName, wtproto.Code) // is told of each that was closed for a limit
}

// listener returns a listener of the connections of l that keeps to the limits.
func (d doors) listener(l net.Listener) *crowd.Listener {
	return crowd.NewListener(l, crowd.Config{
		Total: maxHTTPConns, Each: maxHTTPConnsAddress, PerSecond: float64(d.perSecond), Burst: 2 * d.perSecond,
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
)

// addPublic adds the public pages to mux: the info document, the console and the client module.
func addPublic(mux *http.ServeMux, info http.Handler) {
	mux.Handle("GET "+wtproto.InfoPath, info)
	addPages(mux)
}

// adminHandler answers operators. isReady says whether sessions are taken, reports are what else
// there is, by path.
func adminHandler(isReady func() bool, reports map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if !isReady() {
			writeText(w, http.StatusServiceUnavailable, "no new sessions")
			return
		}
		writeText(w, http.StatusOK, "ready")
	})
	for path, h := range reports {
		mux.Handle("GET "+path, h)
	}
	return mux
}

func writeText(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, format+"\n", args...)
}

// checkHost refuses requests for hosts that are neither an IP address nor localhost nor one of
// names. A page elsewhere can point a name of its own at this machine (DNS rebinding), and then
// has the same origin as the answers of next.
func checkHost(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		_, err := netip.ParseAddr(host)
		if err != nil && host != "localhost" && !slices.Contains(names, host) {
			http.Error(w, "this host is not configured", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf returns the host of a Host header, in lower case and without brackets.
func hostOf(header string) string {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
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
			if state == http.StateActive {
				l.Renew(c)
			}
		},
		ErrorLog: slog.NewLogLogger(log.With("site", name).Handler(), slog.LevelDebug), // what strangers do wrong
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
