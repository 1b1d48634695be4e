package server

import (
	"encoding/hex"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Info returns what clients need to know. host is the name or address by which the asker knows the
// gateway; it is used if [Config.Authority] is empty.
func (s *Server) Info(host string) wtproto.Info {
	authority := s.cfg.Authority
	if authority == "" {
		port := 0
		if a, ok := s.Addr().(*net.UDPAddr); ok {
			port = a.Port
		}
		authority = net.JoinHostPort(host, strconv.Itoa(port))
	}
	info := wtproto.Info{
		Agent:        s.cfg.Agent,
		Version:      wtproto.Version,
		QUIC:         authority,
		WebTransport: "https://" + authority + wtproto.Path,
		Certificate:  wtproto.CertificateInfo{Kind: wtproto.CertificateCA},
		Limits: wtproto.LimitsInfo{
			Topics:   max(s.cfg.MaxTopics, 0),
			Circuits: max(s.cfg.MaxCircuits, 0),
			Peers:    max(s.cfg.DefaultPeers, 0),
		},
	}
	if s.cfg.Hashes != nil {
		info.Certificate.Kind = wtproto.CertificatePinned
		for _, h := range s.cfg.Hashes() {
			info.Certificate.Hashes = append(info.Certificate.Hashes, hex.EncodeToString(h[:]))
		}
	}
	return info
}

// InfoHandler answers GET with the JSON of [Server.Info], and lets pages of the listed origins
// read it. Other pages may read the status 403, so that they can tell it from a gateway that is
// down. It is meant for [wtproto.InfoPath].
func (s *Server) InfoHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin != "" {
			w.Header().Set("Access-Control-Allow-Origin", origin)
		}
		if !getOnly(w, r) {
			return
		}
		if !s.cfg.originAllowed(origin) {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "pages of this origin are not allowed here", http.StatusForbidden)
			return
		}
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil { // no port
			host = strings.Trim(r.Host, "[]")
		}
		writeJSON(w, s.Info(host))
	})
}
