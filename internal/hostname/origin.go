package hostname

import (
	"fmt"
	"net/netip"
	"strings"
)

// Origin is the origin of a page.
type Origin struct {
	Scheme string   // in lower case
	At     HostPort // without a port if it is the one that the scheme has by itself
}

// noOrigins are schemes whose pages have no origin, or that have no pages.
var noOrigins = map[string]bool{"ws": true, "wss": true, "file": true, "data": true, "blob": true, "javascript": true, "about": true, "ftp": true}

// standard returns the port of a scheme, or 0.
func standard(scheme string) uint16 {
	switch scheme {
	case "https":
		return 443
	case "http":
		return 80
	}
	return 0
}

// ParseOrigin reads scheme://host[:port], perhaps with a "/" behind it.
func ParseOrigin(s string) (Origin, error) {
	scheme, rest, found := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !found || !isScheme(scheme) {
		return Origin{}, fmt.Errorf("%q: want scheme://host[:port], such as https://app.example", s)
	}
	if noOrigins[scheme] {
		return Origin{}, fmt.Errorf("%q: no page has an origin that begins with %s://", s, scheme)
	}
	at, err := ParseHostPort(strings.TrimSuffix(rest, "/"))
	if err != nil {
		return Origin{}, fmt.Errorf("%q: want scheme://host[:port]: %w", s, err)
	}
	if a, err := netip.ParseAddr(at.Host); err == nil && (a.Zone() != "" || a.Is6() && rest[0] != '[') {
		return Origin{}, fmt.Errorf("%q: want an IPv6 address without a zone in brackets", s)
	}
	if at.Port == standard(scheme) {
		at.Port = 0
	}
	return Origin{scheme, at}, nil
}

func isScheme(s string) bool {
	return s != "" && 'a' <= s[0] && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// String returns the origin as browsers write it.
func (o Origin) String() string { return o.Scheme + "://" + o.At.String() }

// HostPort returns the host, and the port that the scheme has by itself if there is no other.
func (o Origin) HostPort() HostPort {
	if o.At.Port == 0 {
		return HostPort{o.At.Host, standard(o.Scheme)}
	}
	return o.At
}

// Origins are some origins: one, those of all names below one (https://*.app.example, which is not
// https://app.example), or all (*). The zero value is none.
type Origins struct {
	all   bool
	below bool
	one   Origin
}

// ParseOrigins reads *, or an origin whose host may begin with "*.".
func ParseOrigins(s string) (Origins, error) {
	if s == "*" {
		return Origins{all: true}, nil
	}
	if s == "null" {
		return Origins{}, fmt.Errorf("%q is not an origin: pages of files and frames in a sandbox have none, and only * lets them in", s)
	}
	scheme, rest, found := strings.Cut(s, "://*.")
	if !found {
		o, err := ParseOrigin(s)
		return Origins{one: o}, err
	}
	o, err := ParseOrigin(scheme + "://" + rest)
	if err == nil {
		if _, bad := netip.ParseAddr(o.At.Host); bad == nil {
			err = fmt.Errorf("%q: no name ends with an IP address", s)
		}
	}
	return Origins{below: true, one: o}, err
}

// String returns what [ParseOrigins] reads.
func (o Origins) String() string {
	switch {
	case o.all:
		return "*"
	case o.below:
		return o.one.Scheme + "://*." + o.one.At.String()
	}
	return o.one.String()
}

// Contain reports whether h is one of them. The zero Origin, of a header that [ParseOrigin] cannot
// read, is one of all only.
func (o Origins) Contain(h Origin) bool {
	switch {
	case o.all:
		return true
	case o.below:
		return h.Scheme == o.one.Scheme && h.At.Port == o.one.At.Port && strings.HasSuffix(h.At.Host, "."+o.one.At.Host)
	}
	return h == o.one && h != Origin{}
}
