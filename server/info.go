package server

import (
	"encoding/hex"
	"net/http"

	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Info returns what clients need to know. host is the name or address by which the asker knows the
// gateway, perhaps with a port: what [Config.Names] does not say is taken from it, and then from
// Serve's socket.
func (s *Server) Info(host string) wtproto.Info {
	at, err := hostname.ParseHostPort(host)
	if err != nil {
		at = hostname.HostPort{Host: host}
	}
	return s.info(at)
}

func (s *Server) info(asked hostname.HostPort) wtproto.Info {
	authority := s.pages.tell(asked, s.port())
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
	if s.byWebSocket.Load() {
		info.WebSocket = wtproto.Path
	}
	if s.cfg.Hashes != nil {
		for _, h := range s.cfg.Hashes() {
			info.Certificate.Kind = wtproto.CertificatePinned
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
		if !s.pages.allow(page{origin, r.Host}, s.port()) {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "pages of this origin are not allowed here", http.StatusForbidden)
			return
		}
		writeJSON(w, s.info(askedFor(r)))
	})
}
