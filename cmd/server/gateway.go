package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/certs/acme"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/dat"
	"github.com/swarmgate/swarmgate/discovery/mdns"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/internal/proxied"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Names of the sites.
const (
	siteHTTPS = "https"
	siteDev   = "dev-http"
	siteAdmin = "admin"
	siteACME  = "acme-http"
)

// gateway has the parts of the program. It may not be serving yet, or not any more.
type gateway struct {
	log     *slog.Logger
	metrics *metrics
	server  *server.Server
	sockets sockets
	sites   []*site
	source  certs.Source
	acme    *acme.Source // the same; nil without --acme
	policy  *discovery.Policy

	handover bool // the sockets of --listen are handed on to the next process

	peek bool // only to look for mistakes: it opens no port and changes nothing

	authorizer server.Authorizer // nil lets everybody in

	host  *p2p.Host     // nil without
	lan   *mdns.Network // nil without
	dat   *dat.Host     // nil without
	ready atomic.Bool   // the gateway accepts sessions

	hangups <-chan os.Signal // SIGHUP; nil without

	closers []step // in the order in which the parts were opened
}

// sockets are the sockets on which the gateway listens. Unused ones are nil.
type sockets struct {
	quic                    *udp.Conn
	https, dev, admin, acme net.Listener
}

// keys are the keys that a restarted gateway needs to be the same one.
type keys struct {
	host         ed25519.PrivateKey
	reset, token [32]byte
}

// open makes the parts and opens their sockets. Its error holds every failure.
func open(o *options, log *slog.Logger) (_ *gateway, err error) {
	g := &gateway{log: log, metrics: newMetrics()}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.policy, err = discovery.NewPolicy(o.policy()); err != nil {
		return nil, err
	}
	k, stateErr := g.openState(o)
	authErr := g.openAuthorizer(o)
	listenErr := g.listen(o)
	networks, networkErr := g.openNetworks(o, k)
	g.ownNames(o)
	if err := errors.Join(stateErr, authErr, listenErr, networkErr); err != nil {
		return nil, err
	}
	if err := g.build(o, k, networks); err != nil {
		return nil, err
	}
	return g, nil
}

// close ends the parts, the newest first. It gives up on one that hangs.
func (g *gateway) close() error {
	slices.Reverse(g.closers)
	err := end(closeWithin, g.closers)
	g.closers = nil
	return err
}

// onClose makes c a part of close.
func (g *gateway) onClose(name string, c func() error) { g.closers = append(g.closers, step{name, c}) }

// openState opens the state directory and the certificate.
func (g *gateway) openState(o *options) (k keys, err error) {
	openDir := certs.OpenStateDir
	if g.peek {
		openDir = certs.PeekStateDir
	}
	var errs []error
	dir, err := openDir(o.StateDir)
	if err != nil {
		errs = append(errs, err)
		dir, _ = openDir("") // to see what else is wrong
	}
	g.onClose("state directory", dir.Close)
	defer func() { g.noteState(o, dir) }()
	key := func(name string, size int) []byte {
		b, err := dir.Key(name, size)
		errs = append(errs, err)
		return b
	}
	if seed := key("p2p", ed25519.SeedSize); seed != nil {
		k.host = ed25519.NewKeyFromSeed(seed)
	}
	copy(k.reset[:], key("reset", len(k.reset)))
	copy(k.token[:], key("token", len(k.token)))
	return k, errors.Join(append(errs, g.openCertificate(o, dir))...)
}

// openCertificate opens what the gateway proves to clients with who it is.
func (g *gateway) openCertificate(o *options, dir *certs.StateDir) (err error) {
	if o.Cert != "" {
		g.source, err = certs.NewFiles(o.Cert, o.Key, g.log)
		return err
	}
	g.source, err = certs.NewPinned(dir, certs.PinnedConfig{
		Names: append(o.names(), "localhost", "127.0.0.1", "::1"), Logger: g.log,
	})
	if err != nil || !o.ACME {
		return err
	}
	return g.openACME(o, dir)
}

// noteState logs what an operator should know of the state directory and of keys.
func (g *gateway) noteState(o *options, dir *certs.StateDir) {
	if path := dir.Path(); path != "" && path != o.StateDir {
		g.log.Warn("everybody may write to the state directory, so the gateway has one of its own in it", "path", dir.Path())
	}
	if dir.Shared() {
		g.log.Warn("the group of the state directory can replace its keys", "path", dir.Path())
	}
	if dir.ReadOnly() {
		g.log.Warn("the state directory is read-only: pinned certificates that are new do not outlive a restart", "path", dir.Path())
	}
	exposed := dir.Exposed()
	for _, path := range []string{o.Key, o.ACMEAccountKey} {
		if path != "" && certs.Exposed(path) {
			exposed = append(exposed, path)
		}
	}
	for _, path := range exposed {
		g.log.Warn("others on this computer can read a key", "path", path)
	}
}

// openAuthorizer opens the authorizer.
func (g *gateway) openAuthorizer(o *options) error {
	switch {
	case o.TokenFile != "":
		tokens, err := auth.NewTokenFile(o.TokenFile, g.log)
		if err != nil {
			return err
		}
		g.authorizer = tokens
	case o.JWTKey != "":
		tokens, err := auth.NewJWT(auth.JWTConfig{KeyFile: o.JWTKey, Audience: o.JWTAudience, Logger: g.log})
		if err != nil {
			return err
		}
		g.authorizer = tokens
	case o.AuthURL != "":
		service, err := auth.NewCallback(o.AuthURL, g.log)
		if err != nil {
			return err
		}
		g.onClose("auth-url", service.Close)
		g.authorizer = service
	default:
		g.log.Info("everybody may connect: neither --token-file nor --jwt-key nor --auth-url is set")
	}
	return nil
}

// listen opens the sockets, and tells the policy that they are our own.
func (g *gateway) listen(o *options) error {
	both, ok, err := handed()
	if g.handover = ok; ok {
		g.log.Info("listening on the sockets that were handed over, not on --listen")
	} else {
		both, err = first(o.listens(), listenBoth)
	}
	switch {
	case err != nil && ok:
		err = fmt.Errorf("the sockets that were handed over: %w", err)
	case err != nil:
		err = fmt.Errorf("--listen: %w", err)
	default:
		g.sockets.quic, g.sockets.https = both.udp, both.tcp
		if trusted := prefixes(o.TrustedProxy); len(trusted) > 0 {
			g.sockets.https = proxied.Listen(both.tcp, trusted)
		}
		g.onClose("UDP socket", both.udp.Close)
		g.own(g.sockets.https)
	}
	listen := func(flag string, addrs []hostPort) net.Listener {
		if len(addrs) == 0 {
			return nil
		}
		l, failed := first(addrs, func(a hostPort) (net.Listener, error) { return net.Listen("tcp", string(a)) })
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("--%s: %w", flag, failed))
			return nil
		}
		g.own(l)
		return l
	}
	g.sockets.dev = listen(siteDev, o.devListens())
	if o.Admin != "" {
		g.sockets.admin = listen(siteAdmin, []hostPort{o.Admin})
	}
	if o.ACMEHTTP != "" {
		g.sockets.acme = listen(siteACME, []hostPort{o.ACMEHTTP})
	}
	return err
}

// ownNames tells the policy the public names of the listeners.
func (g *gateway) ownNames(o *options) {
	var ports []uint16
	for _, l := range []net.Listener{g.sockets.https, g.sockets.dev, g.sockets.admin, g.sockets.acme} {
		if l != nil {
			ports = append(ports, ipPort(l.Addr()).Port())
		}
	}
	if g.host != nil {
		ports = append(ports, uint16(g.host.Port()))
	}
	if g.dat != nil {
		ports = append(ports, g.dat.OwnPorts()...)
	}
	for _, n := range o.Name {
		own := ports
		if n.Port != 0 {
			own = append(slices.Clip(ports), n.Port)
		}
		g.policy.AddOwnName(n.Host, own...)
	}
}

// own takes over l.
func (g *gateway) own(l net.Listener) {
	g.policy.AddOwn(ipPort(l.Addr()))
	g.onClose("listener", func() error {
		l.Close() // its site has done so already if it was serving
		return nil
	})
}

// first opens the first of candidates that it can open. If it can open none, it returns the error
// of the first one.
func first[C, T any](candidates []C, open func(C) (T, error)) (T, error) {
	var why error
	for _, c := range candidates {
		opened, err := open(c)
		if err == nil {
			return opened, nil
		}
		if why == nil {
			why = err
		}
	}
	var none T
	return none, why
}

// openNetworks returns the networks that the options ask for.
func (g *gateway) openNetworks(o *options, k keys) ([]discovery.Network, error) {
	var networks []discovery.Network
	var errs []error
	if listens := o.hostListens(); len(listens) > 0 {
		host, err := first(listens, func(listen []string) (*p2p.Host, error) {
			cfg := o.host(listen, k.host, g.policy, g.log)
			cfg.Observer = g.metrics.networkObserver()
			cfg.LAN = g.wantsLAN(o)
			return p2p.Listen(cfg)
		})
		if err != nil {
			return nil, err
		}
		g.host = host
		g.onClose("libp2p host", host.Close)
		networks = append(networks, host)
	}
	if g.wantsLAN(o) {
		cfg := mdns.Config{
			Interfaces: o.LANInterface, AnyHost: o.LANAnyHost, Policy: g.policy, Hosts: g.host,
			Observer: g.metrics.networkObserver(), Logger: g.log,
		}
		if !o.onLoopback() {
			cfg.Self = &mdns.Self{ID: g.host.ID(), Port: g.host.Port()}
		}
		lan, err := mdns.New(cfg)
		if err == nil {
			g.lan = lan
			g.onClose("LAN", lan.Close)
			networks = append(networks, lan)
		}
		errs = append(errs, err)
	}
	if services := o.staticServices(); len(services) > 0 {
		n, err := static.New(static.Config{Peers: services, Policy: g.policy})
		if err == nil {
			g.onClose("static peers", n.Close)
			networks = append(networks, n)
		}
		errs = append(errs, err)
	}
	if o.Dat {
		host, err := dat.Listen(g.datConfig(o))
		if err == nil {
			g.dat = host
			g.onClose("old peers", host.Close)
			networks = append(networks, host.Networks()...)
		}
		errs = append(errs, err)
	}
	return networks, errors.Join(errs...)
}

// defaultNetworks returns the networks of clients that ask for none by name: all but those of
// onRequest. Nil leaves the choice to the server.
func defaultNetworks(networks []discovery.Network, onRequest []string) []string {
	if len(onRequest) == 0 {
		return nil
	}
	names := []string{wtproto.NetworkClient}
	for _, n := range networks {
		if r, ok := n.(discovery.OnRequest); ok && r.OnRequest() {
			continue
		}
		if c, ok := n.(discovery.Compound); ok {
			names = append(names, c.Networks()...)
		} else {
			names = append(names, n.Name())
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(onRequest, name) })
}

// wantsLAN reports whether to look for peers on the LAN. A demo on a machine without a LAN does
// not, unless an option asks for it.
func (g *gateway) wantsLAN(o *options) bool {
	if !o.LAN || o.given["lan"] {
		return o.LAN
	}
	interfaces, err := g.policy.LAN()
	return err == nil && len(interfaces) > 0
}

// hasAuthority reports whether an authority has signed the certificate that clients get now.
func (g *gateway) hasAuthority() bool { return g.source.Kind() == wtproto.CertificateCA }

// build makes the server and the sites.
func (g *gateway) build(o *options, k keys, networks []discovery.Network) error {
	public := http.NewServeMux() // the handlers of the server are added below
	cfg := server.Config{
		TLS:                     g.source.TLSConfig(),
		Hashes:                  g.source.Hashes,
		Authorizer:              g.authorizer,
		Networks:                networks,
		DefaultNetworks:         defaultNetworks(networks, o.NetworkOnRequest),
		IsolateClients:          !o.ConnectClients,
		Handover:                g.handover,
		Names:                   o.publicNames(g.sockets.https.Addr()),
		Origins:                 o.origins(g.sockets.dev),
		ShowAddresses:           o.ShowAddresses,
		Agent:                   "swarmgate " + version(),
		Handler:                 guarded(g.hasAuthority, public),
		TrustedProxies:          prefixes(o.TrustedProxy),
		MaxSessions:             int(o.MaxSessions),
		MaxSessionsPerPrincipal: int(o.MaxSessionsPerPrincipal),
		HandshakesPerAddress:    int(o.HandshakesPerAddress),
		MaxTopics:               int(o.MaxTopics),
		MaxTopicsPerPrincipal:   int(o.MaxTopicsPerPrincipal),
		MaxTopicsTotal:          int(o.MaxTopicsTotal),
		NewTopics:               int(o.NewTopics),
		NewCircuits:             int(o.NewCircuits),
		MaxCircuits:             int(o.MaxCircuits),
		MaxPairCircuits:         int(o.MaxPairCircuits),
		MaxCircuitsPerPrincipal: int(o.MaxCircuitsPerPrincipal),
		MaxCircuitsTotal:        int(o.MaxCircuitsTotal),
		DefaultPeers:            int(o.DefaultPeers),
		Memory:                  g.limitMemory(o),
		StatelessResetKey:       &k.reset,
		TokenKey:                &k.token,
		Observer:                g.metrics.observer(),
		Logger:                  g.log,
	}
	var err error
	if g.server, err = server.New(cfg); err != nil {
		return err
	}
	g.metrics.registry.MustRegister(newGauges(g))
	addPublic(public, g.ready.Load, g.server.InfoHandler(), g.server.WebSocketHandler())

	d := doors{int(o.HandshakesPerAddress), cfg.TrustedProxies, cfg.Observer.Refused}
	g.sites = append(g.sites, newSite(siteHTTPS, g.sockets.https, d, g.siteTLS(), cfg.Handler, g.log))
	if l := g.sockets.acme; l != nil {
		g.sites = append(g.sites, newSite(siteACME, l, d, nil, g.acme.HTTPHandler(toHTTPS(o.https(g.sockets.https.Addr()))), g.log))
	}
	if l := g.sockets.dev; l != nil {
		g.sites = append(g.sites, newSite(siteDev, l, d, nil, checkHost(o.names(), cfg.Handler), g.log))
	}
	if l := g.sockets.admin; l != nil {
		reports := map[string]http.Handler{
			topicsPath: g.server.TopicsHandler(), principalsPath: g.server.PrincipalsHandler(), metricsPath: g.metrics.handler(),
		}
		if o.Pprof {
			addPprof(reports)
		}
		if o.Qlog {
			reports[qlogPath] = g.server.QlogHandler()
		}
		admin := adminHandler(g.ready.Load, g.troubles, reports)
		g.sites = append(g.sites, newSite(siteAdmin, l, d, nil, checkHost(o.names(), checkOrigin(guarded(g.hasAuthority, admin))), g.log))
	}
	return nil
}
