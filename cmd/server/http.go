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

	"golang.org/x/net/netutil"

	"github.com/swarmgate/swarmgate/wtproto"
)

// maxHTTPConns is how many TCP connections one listener has at once; more wait.
const maxHTTPConns = 1024

// Paths for operators.
const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	topicsPath  = "/api/topics"
	metricsPath = "/metrics"
)

// addPublic adds what everybody may ask for to mux: the info document, the console and the client module.
func addPublic(mux *http.ServeMux, info http.Handler) {
	mux.Handle("GET "+wtproto.InfoPath, info)
	addPages(mux)
}

// adminHandler answers operators. isReady says whether sessions are taken.
func adminHandler(isReady func() bool, topics, metrics http.Handler) http.Handler {
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
	mux.Handle("GET "+topicsPath, topics)
	mux.Handle("GET "+metricsPath, metrics)
	return mux
}

func writeText(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, format+"\n", args...)
}

// checkHost refuses requests for hosts that are neither an IP address nor localhost nor one of names. A page elsewhere can point a name
// of its own at this machine, and would then be of the same origin as what next answers.
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

// newSite returns a site on l, of plain HTTP where secure is nil. Its requests have no body, so the timeouts are short.
func newSite(name string, l net.Listener, secure *tls.Config, h http.Handler, log *slog.Logger) *site {
	return &site{name: name, listener: netutil.LimitListener(l, maxHTTPConns), tls: secure, server: &http.Server{
		Handler:           h,
		TLSConfig:         secure,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.With("site", name).Handler(), slog.LevelDebug), // what strangers do wrong
	}}
}

// serve answers until the site is closed, which is no error.
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
