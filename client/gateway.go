package client

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

// gateway is where a client may have a session.
type gateway struct {
	// constant
	name       string     // as it was given
	host, port string     // host in ASCII, perhaps with a dot at its end
	pinned     [][32]byte // hashes of certificates that are trusted; none if an authority is
	websocket  string     // URL
	document   string     // URL of the info document that it was found by, if any

	announced [][32]byte // guarded by Client.mu; hashes of its certificates, as it last announced them
	worked    string     // guarded by Client.mu; the transport of the last session
	workedAt  time.Time  // guarded by Client.mu; when that began
	failed    bool       // guarded by Client.mu; its last attempt or session has ended
}

// trusted returns the hashes of the certificates of g that are trusted, if it is not an authority.
func (c *Client) trusted(g *gateway) [][32]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(g.pinned) == 0 {
		return nil
	}
	return slices.Concat(g.announced, g.pinned)
}

// parseGateways returns the gateways at addresses, each once. hashes are good for all of them.
func parseGateways(addresses []string, hashes [][32]byte) ([]*gateway, error) {
	var all []*gateway
	var failures []oneline.Failure
	for _, a := range addresses {
		g, err := parseGateway(a)
		if err != nil {
			failures = append(failures, oneline.Failure{Err: err})
			continue
		}
		g.pinned = slices.Concat(g.pinned, hashes)
		if i := slices.IndexFunc(all, g.same); i >= 0 {
			all[i].pinned = append(all[i].pinned, g.pinned...)
		} else {
			all = append(all, g)
		}
	}
	return all, oneline.Join(failures...)
}

// same reports whether g and h are one.
func (g *gateway) same(h *gateway) bool {
	return strings.TrimSuffix(h.host, ".") == strings.TrimSuffix(g.host, ".") && h.port == g.port
}

// hostOf returns the host and the port in the name of a gateway, without a scheme and hashes.
func hostOf(name string) string {
	if _, rest, isURL := strings.Cut(name, "://"); isURL {
		name, _, _ = strings.Cut(rest, "/")
	}
	return name
}

// parseGateway reads a gateway's address, a URL or host[:port].
func parseGateway(address string) (*gateway, error) {
	g := &gateway{name: address}
	scheme, _, isURL := strings.Cut(address, "://")
	switch {
	case isURL && strings.EqualFold(strings.TrimSpace(scheme)+"://", wtproto.URLScheme):
		u, err := wtproto.ParseGatewayURL(address)
		if err != nil {
			return nil, err
		}
		g.name = u.WithTopic("").String() // events and logs do not tell the topic
		g.host, g.port, g.pinned = u.Host, strconv.Itoa(int(u.Port)), u.Hashes
	case isURL:
		u, err := url.Parse(address)
		if err != nil {
			return nil, err // it says "parse" and the address
		}
		if err := believable(u); u.Scheme == "http" && err != nil {
			return nil, err
		}
		if u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			u.Path != "" && u.Path != "/" && u.Path != wtproto.Path {
			return nil, fmt.Errorf("%q: want https://host[:port], %shost[:port]/, or http:// on this machine", address, wtproto.URLScheme)
		}
		g.host, g.port = u.Hostname(), u.Port()
	default:
		var err error
		if _, bad := netip.ParseAddr(strings.Trim(address, "[]")); bad == nil || !strings.Contains(address, ":") {
			g.host = strings.Trim(address, "[]")
		} else if g.host, g.port, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
	}
	if g.port == "" {
		g.port = "443"
	}
	if n, err := strconv.ParseUint(g.port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("%q: invalid port %q", address, g.port)
	}
	if g.host == "" {
		return nil, fmt.Errorf("%q has no host", address)
	}
	host, err := hostname.Parse(g.host)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(g.host, ".") {
		host += "." // it is complete: the resolver appends nothing
	}
	g.host = host
	g.websocket = (&url.URL{Scheme: "wss", Host: net.JoinHostPort(g.host, g.port), Path: wtproto.Path}).String()
	return g, nil
}
