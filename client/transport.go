package client

import (
	"context"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Names for [Config.Transports], and what [Session.Transport] is.
const (
	TransportQUIC      = "quic"
	TransportWebSocket = "websocket"
)

// TransportStart is how long a transport of [Config.Transports] has before the next one is tried
// beside it.
const TransportStart = 500 * time.Millisecond

const transportMemory = time.Hour // for which the one that worked is tried first

// dial returns a link with the gateway of an attempt, over the transport that is there first.
func (c *Client) dial(a *attempt) (link, error) {
	c.mu.Lock()
	g := c.gateways[a.gateway]
	order := g.transports(c.cfg.Transports, time.Now())
	c.mu.Unlock()
	trust := tlsConfig(&c.cfg, g.host, c.trusted(g))
	var field []runner[link]
	for _, name := range order {
		dial := dialQUICLink
		if name == TransportWebSocket {
			dial = dialWSLink
		}
		field = append(field, runner[link]{name, func(ctx context.Context) (link, error) {
			l, err := dial(ctx, &c.cfg, g, trust)
			if err != nil && ctx.Err() == nil {
				c.failed(a, oneline.Failure{Of: name, Err: err})
			}
			return l, err
		}})
	}
	return race(a.ctx, TransportStart, field, func(l link) { l.close(wtproto.CodeNone, "another transport was faster") })
}

// failed takes that a transport of an attempt has failed, while another one may still be tried.
func (c *Client) failed(a *attempt, why oneline.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Logger.Debug("a transport failed", "gateway", c.gateways[a.gateway].name, "error", why)
	if c.attempts[a.gateway] == a {
		c.machine.failing(a.gateway, why)
	}
}

// transports returns names in the order in which they are tried now.
func (g *gateway) transports(names []string, now time.Time) []string {
	if i := slices.Index(names, g.worked); i > 0 && now.Sub(g.workedAt) < transportMemory {
		names = slices.Concat([]string{g.worked}, names[:i], names[i+1:])
	}
	return names
}
