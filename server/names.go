package server

import (
	"net"
	"net/http"
	"slices"

	"github.com/swarmgate/swarmgate/internal/hostname"
)

// page says which page a request comes from: its Origin header, empty for a native program, and
// its Host header.
type page struct{ origin, host string }

// pages are those that may have sessions.
type pages struct {
	names  []hostname.HostPort // of the gateway; without a port if clients use the one that they know
	listed []hostname.Origins
}

// newPages returns the pages of a valid configuration.
func newPages(c *Config) pages {
	var p pages
	for _, s := range c.Names {
		name, _ := hostname.ParseHostPort(s)
		p.names = append(p.names, name)
	}
	for _, s := range c.Origins {
		o, _ := hostname.ParseOrigins(s)
		p.listed = append(p.listed, o)
	}
	return p
}

// allow reports whether a page may have a session at a gateway whose socket has a port. Those of
// the gateway itself may, at whatever port a browser reaches it.
func (p pages) allow(from page, port uint16) bool {
	o, err := hostname.ParseOrigin(from.origin)
	if from.origin == "" || slices.ContainsFunc(p.listed, func(listed hostname.Origins) bool { return listed.Contain(o) }) {
		return true
	}
	if err != nil || o.Scheme != "https" {
		return false
	}
	at := o.HostPort()
	asked, _ := secureHostPort(from.host)
	return slices.ContainsFunc(p.names, func(n hostname.HostPort) bool {
		return n.Host == at.Host && (slices.Contains([]uint16{443, port, n.Port}, at.Port) || asked == at)
	})
}

// secureHostPort reads a Host header of a request over TLS, which needs no port if that is 443.
func secureHostPort(header string) (hostname.HostPort, error) {
	h, err := hostname.ParseHostPort(header)
	if err == nil && h.Port == 0 {
		h.Port = 443
	}
	return h, err
}

// tell returns the host:port that clients are told, if they know the gateway as at, whose port is
// 0 if it says nothing, and its socket has a port.
func (p pages) tell(at hostname.HostPort, port uint16) string {
	if len(p.names) > 0 {
		n := p.names[0]
		at.Host = n.Host
		if n.Port != 0 {
			at.Port = n.Port
		}
	}
	if at.Port == 0 {
		at.Port = port
	}
	return at.String()
}

// port returns the port of Serve's socket, or 0.
func (s *Server) port() uint16 {
	if a, ok := s.Addr().(*net.UDPAddr); ok {
		return uint16(a.Port)
	}
	return 0
}

// askedFor returns where the asker of r knows the gateway. A request without a Host header asked
// for the address that it came to. Only over TLS the port is that of the gateway: a listener of
// plain HTTP has another one.
func askedFor(r *http.Request) hostname.HostPort {
	at, err := secureHostPort(r.Host)
	if err != nil {
		at = hostname.HostPort{}
		if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host, _, _ := net.SplitHostPort(a.String())
			at.Host = host
		}
		return at
	}
	if r.TLS == nil {
		at.Port = 0
	}
	return at
}
