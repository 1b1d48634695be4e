package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/wtproto"
)

// examination finds out the facts about one gateway. Checks that do not depend on each other run
// at the same time, and each ends after patience.
type examination struct {
	program  *program
	flags    gatewayFlags // with the one gateway
	topic    *topicArg    // nil for none
	watch    time.Duration
	patience time.Duration
	facts    facts // each field belongs to one check until all have ended
}

// run makes all checks.
func (x *examination) run() facts {
	f := &x.facts
	f.token = x.flags.Token != "" || x.flags.TokenFile != ""
	if x.topic != nil {
		f.asked = x.topic.label()
	}
	x.check(x.locate)
	if f.locateErr != nil {
		f.now = time.Now()
		return *f
	}
	transports := x.flags.Transport.names()
	if transports == nil {
		transports = []string{client.TransportQUIC, client.TransportWebSocket}
	}
	f.sessions = make([]tried, len(transports))
	clients := make([]*client.Client, len(transports))

	var checks sync.WaitGroup
	for _, look := range []func(context.Context){x.resolve, x.read, x.connect, x.shakeTCP, x.shakeQUIC, x.askTime} {
		checks.Go(func() { x.check(look) })
	}
	for i, t := range transports {
		checks.Go(func() { clients[i], f.sessions[i] = x.open(t) })
	}
	checks.Wait()
	f.now = time.Now()
	for _, c := range clients {
		if c != nil && x.topic != nil && f.topic == nil {
			x.check(func(ctx context.Context) { f.topic = x.join(ctx, c) })
		}
	}
	for _, c := range clients {
		if c != nil {
			c.Close()
		}
	}
	x.check(x.openPage) // last, lest it takes the place of a session that is the only one allowed
	return *f
}

// check calls look with a context that ends in time.
func (x *examination) check(look func(context.Context)) {
	ctx, cancel := context.WithTimeout(x.program.ctx, x.patience)
	defer cancel()
	look(ctx)
}

// locate finds out where the gateway is, as client.Dial does.
func (x *examination) locate(ctx context.Context) {
	f, address := &x.facts, x.flags.Gateway[0]
	if strings.HasPrefix(address, "http://") {
		if u, err := url.Parse(address); err == nil {
			f.http = u.Redacted()
		}
		f.info, f.gateway, f.locateErr = client.ReadInfo(ctx, address, nil)
		if len(x.flags.CertHash) > 0 {
			f.gateway.Hashes = nil
		}
	} else {
		f.gateway, f.locateErr = client.ParseGateway(address)
	}
	for _, h := range x.flags.CertHash {
		f.gateway.Hashes = append(f.gateway.Hashes, h)
	}
}

// site is where the gateway has its info document.
func (x *examination) site() string {
	if x.facts.http != "" {
		return x.facts.http
	}
	return (&url.URL{Scheme: "https", Host: x.facts.gateway.Address()}).String()
}

func (x *examination) resolve(ctx context.Context) {
	f := &x.facts
	f.addresses, f.nameErr = net.DefaultResolver.LookupHost(ctx, hostname.ToResolve(f.gateway.Host))
}

func (x *examination) read(ctx context.Context) {
	if f := &x.facts; f.http == "" {
		f.info, _, f.infoErr = client.ReadInfo(ctx, x.site(), f.gateway.Hashes)
	}
}

func (x *examination) connect(ctx context.Context) {
	f := &x.facts
	if proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: f.gateway.Address()}); err == nil && proxy != nil {
		f.proxy = proxy.Host
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", wtproto.GatewayURL{Host: hostname.ToResolve(f.gateway.Host), Port: f.gateway.Port}.Address())
	if err == nil {
		err = conn.Close()
	}
	f.tcpErr = err
}

func (x *examination) shakeTCP(ctx context.Context) {
	h := &x.facts.tls
	h.Handshake, h.err = client.TryHandshake(ctx, x.facts.gateway, client.TransportWebSocket)
}

func (x *examination) shakeQUIC(ctx context.Context) {
	h := &x.facts.quic
	h.Handshake, h.err = client.TryHandshake(ctx, x.facts.gateway, client.TransportQUIC)
}

// askTime finds out what time it is at the gateway. Anybody may answer, since nothing depends on it
// but a line for people; a wrong clock is one reason why a certificate is not trusted.
func (x *examination) askTime(ctx context.Context) {
	site, err := url.Parse(x.site())
	if err != nil {
		return
	}
	document := url.URL{Scheme: site.Scheme, Host: site.Host, Path: wtproto.InfoPath}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, document.String(), nil)
	if err != nil {
		return
	}
	transport := &http.Transport{
		DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return
	}
	resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		x.facts.ahead, x.facts.timed = time.Since(date), true
	}
}

// dialGrace is how much longer a dial may take than the client itself allows, whose words for that
// are better. Only the info document can take so long.
const dialGrace = time.Second

// open tries to open a session over a transport.
func (x *examination) open(name string) (*client.Client, tried) {
	flags := x.flags
	flags.Transport, flags.Reconnect, flags.patience = transport(name), false, x.patience
	ctx, cancel := context.WithTimeout(x.program.ctx, x.patience+dialGrace)
	defer cancel()
	limited := *x.program
	limited.ctx = ctx
	began := time.Now()
	c, err := flags.dial(&limited)
	return c, tried{name, time.Since(began), err}
}

// join looks at the topic, and takes no circuits.
func (x *examination) join(ctx context.Context, c *client.Client) *topicFact {
	began := time.Now()
	none := func(client.Peer) bool { return false }
	topic, err := c.Join(ctx, x.topic.Topic, client.JoinOptions{LookUpOnly: true, Filter: none})
	if err != nil {
		return &topicFact{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, x.watch)
	defer cancel()
	reportTopic(ctx, topic, func(client.Status) {}, func() {})
	return &topicFact{err: topic.Err(), status: topic.Status(), after: time.Since(began)}
}
