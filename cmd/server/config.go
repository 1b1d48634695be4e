package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/wtproto"
)

// p2pPort is the TCP port of the libp2p host, unless the configuration says where it listens.
const p2pPort = "4434"

// options are the configuration. Each field is a flag, a variable of the environment (its name in
// upper case after SWARMGATE_) and a key of the YAML file (its name). A test makes the table in
// docs/OPERATING.md from the tags.
type options struct {
	Listen  hostPort `group:"Listeners" placeholder:"ADDR" help:"Where sessions come in: QUIC and HTTP/3 on this UDP port, HTTPS on the same TCP port. Port 0 takes a free one. Unless given, :4433, and 127.0.0.1:4433 with --demo."`
	DevHTTP hostPort `name:"dev-http" group:"Listeners" placeholder:"ADDR" help:"Also answer plain HTTP here, for development. Pages from here may open sessions if it is a loopback address. Unless given, none, and 127.0.0.1:8080 with --demo."`
	Admin   hostPort `group:"Listeners" placeholder:"ADDR" help:"Answer operators here, on plain HTTP: /healthz, /readyz, /metrics, /api/topics, /api/principals. Keep it from others: it tells topics and peers' addresses and asks for no password."`

	TrustedProxy []cidr `group:"Listeners" placeholder:"CIDR" help:"A load balancer in front of --listen. What comes from there on TCP must begin with the PROXY protocol, which says whose it is. UDP cannot say that, so what comes from there has no limits of an address."`

	Name           []publicName `group:"Clients" placeholder:"NAME" help:"A public name or IP address of this gateway: in the pinned certificate, as an origin of pages, as a Host of plain HTTP. Clients are told to connect to the first one."`
	AllowOrigin    []origin     `group:"Clients" placeholder:"ORIGIN" help:"Let pages from here open sessions, such as https://app.example; * stands for all."`
	ConnectClients bool         `group:"Clients" negatable:"" default:"true" help:"Connect clients of this gateway with each other."`
	ShowAddresses  bool         `group:"Clients" help:"Tell clients the addresses of native peers."`
	Cert           string       `group:"Clients" placeholder:"FILE" help:"Certificate chain in PEM, read again when it changes. Without it the gateway makes its own certificate, which clients trust by its hash."`
	Key            string       `group:"Clients" placeholder:"FILE" help:"Private key of --cert in PEM."`
	TokenFile      string       `group:"Clients" placeholder:"FILE" help:"Let in who has a token that this file lists, read again when it changes: swarm token new writes it. Without this, --jwt-key and --auth-url, everybody may connect."`
	JWTKey         string       `name:"jwt-key" group:"Clients" placeholder:"FILE" help:"Let in who has a JSON Web Token (EdDSA or ES256) that a key of this file has signed: public keys in PEM, or a JSON Web Key Set. It is read again when it changes."`
	JWTAudience    string       `name:"jwt-audience" group:"Clients" placeholder:"NAME" help:"What the claim aud of these tokens must name. Without it they must have none."`
	AuthURL        string       `name:"auth-url" group:"Clients" placeholder:"URL" help:"Ask a web service there who may connect, by POST of JSON: https, or http on loopback."`
	StateDir       string       `group:"Clients" placeholder:"DIR" help:"Keep keys and the gateway's own certificate here, so that it is the same gateway after a restart. One gateway each. Without it they are new at each start."`

	DHT              p2p.Mode     `name:"dht" group:"Networks" placeholder:"public" default:"public" help:"Which DHT to look for peers in: public (the one of IPFS), private (of swarmgate hosts, entered by --dht-seed) or off."`
	DHTSeed          []string     `name:"dht-seed" group:"Networks" placeholder:"MULTIADDR" help:"A host by which to enter the DHT, such as /ip4/192.0.2.1/tcp/4434/p2p/12D3Koo…"`
	DHTServe         p2p.Serve    `name:"dht-serve" group:"Networks" placeholder:"auto" default:"auto" help:"Whether to be a server of the private DHT, which others ask: auto (once somebody could connect to this host from where its seeds are; at once without seeds), always or never."`
	P2PListen        []string     `name:"p2p-listen" env:"SWARMGATE_P2P_LISTEN" group:"Networks" placeholder:"MULTIADDR" help:"Where the libp2p host listens for other hosts. Unless given, /ip4/0.0.0.0/tcp/4434 and /ip6/::/tcp/4434, or free ports where these are taken; a free port of 127.0.0.1 with --demo."`
	P2PAnnounce      []string     `name:"p2p-announce" env:"SWARMGATE_P2P_ANNOUNCE" group:"Networks" placeholder:"MULTIADDR" help:"An address by which other hosts reach this one, such as /ip4/192.0.2.1/tcp/4434, if it is not one of its own: behind a router that forwards a port, or in a container. Others are told these instead of its own."`
	LAN              bool         `name:"lan" group:"Networks" negatable:"" help:"Look for peers on the LAN, and be found there (multicast DNS). On with --demo."`
	LANInterface     []string     `name:"lan-interface" group:"Networks" placeholder:"NAME" help:"The network interface of the LAN. Without it, all that are neither loopback nor point-to-point."`
	LANAnyHost       bool         `name:"lan-any-host" group:"Networks" help:"Believe a machine on the LAN that publishes TCP services of another one, as avahi-publish -H does. Without it a service is dialed at the address that its announcement came from."`
	Static           []staticPeer `group:"Networks" placeholder:"TOPIC=PEER" help:"A peer that is always there: TOPIC=tcp://HOST:PORT for a TCP service, TOPIC=MULTIADDR for a libp2p host."`
	NetworkOnRequest []string     `group:"Networks" placeholder:"NAME" help:"A network that a client gets only if its JOIN asks for it by name: dht, lan, static or client. Without it all are for everybody."`
	DialAllow        []cidr       `group:"Networks" placeholder:"CIDR" help:"Also dial peers at these addresses. Without it only public ones are dialed, and on the LAN its own."`
	AllowPrivate     bool         `group:"Networks" help:"Dial peers at all private and loopback addresses: for tests and development."`

	MaxSessions             limit    `group:"Limits" placeholder:"10000" default:"10000" help:"Sessions at once. A negative limit is none, here and below."`
	MaxSessionsPerPrincipal limit    `group:"Limits" placeholder:"256" default:"256" help:"Sessions at once from one IPv4 address or IPv6 /64; four times as many from a /56, sixteen times from a /48."`
	HandshakesPerAddress    limit    `group:"Limits" placeholder:"100" default:"100" help:"Connections a second from one IPv4 address or IPv6 /64, to the UDP port and to each HTTP listener; twice as many at once."`
	MaxTopics               limit    `group:"Limits" placeholder:"64" default:"64" help:"Topics that a session may have joined at once."`
	MaxTopicsPerPrincipal   limit    `group:"Limits" placeholder:"512" help:"Topics at once of all sessions of one name or address, those that they have left in the last seconds too. Unless given, eight times --max-topics."`
	MaxTopicsTotal          limit    `group:"Limits" placeholder:"20000" default:"20000" help:"Topics at once of the gateway."`
	NewCircuits             limit    `group:"Limits" placeholder:"500" default:"500" help:"Circuits a second that one name or address may begin, and ten times as many at once."`
	NewTopics               limit    `group:"Limits" placeholder:"300" default:"300" help:"Topics a minute that nobody is on yet, which one name or address may join."`
	MaxCircuits             limit    `group:"Limits" placeholder:"256" default:"256" help:"Circuits that a session may have at once: those with peers, and further ones."`
	MaxPairCircuits         limit    `group:"Limits" placeholder:"224" help:"Further circuits that a session may have with one peer on a topic. Unless given, seven eighths of --max-circuits."`
	MaxCircuitsPerPrincipal limit    `group:"Limits" placeholder:"4096" help:"The same of all sessions of one name or address. Unless given, sixteen times --max-circuits."`
	MaxCircuitsTotal        limit    `group:"Limits" placeholder:"100000" default:"100000" help:"The same of all sessions of the gateway."`
	DefaultPeers            limit    `group:"Limits" placeholder:"64" default:"64" help:"Peers of a topic that a client gets which did not ask for a number."`
	Memory                  size     `group:"Limits" placeholder:"SIZE" help:"Memory that the program may use, such as 512MiB. Go keeps to four fifths of it, unless GOMEMLIMIT is set. Without it GOMEMLIMIT, else the limit of the cgroup, else half of the RAM."`
	Drain                   duration `group:"Limits" placeholder:"30s" default:"30s" help:"How long open circuits may go on after SIGTERM. A second signal ends at once."`

	LogLevel  slog.Level       `group:"Program" placeholder:"info" default:"info" help:"The least that is logged: debug, info, warn or error."`
	LogFormat logFormat        `group:"Program" placeholder:"text" default:"text" help:"How it is logged: text or json."`
	Demo      bool             `group:"Program" help:"Show the gateway at work: start one on loopback, with a peer and a client. Implies --allow-private, and unless given --dht private and --lan."`
	DemoExit  bool             `group:"Program" help:"End the demo after its summary."`
	Config    kong.ConfigFlag  `group:"Program" placeholder:"FILE" help:"Read what neither flags nor the environment say from this YAML file."`
	Version   kong.VersionFlag `group:"Program" env:"-" help:"Print the version."`

	given       map[string]bool // flags that somebody gave, by name
	demoTraffic int64           // bytes that the demo sends
}

// Types of flags, each with its own way to be read.
type (
	hostPort   string // HOST:PORT; HOST may be empty
	publicName string // a DNS name in lower case or an IP address
	origin     string // scheme://host[:port], or *
	cidr       netip.Prefix
	limit      int           // not 0
	size       int64         // bytes
	duration   time.Duration // not negative
	logFormat  string        // text or json
)

// staticPeer is a peer of --static: a TCP service, or a libp2p host.
type staticPeer struct {
	tcp   static.Peer
	topic wtproto.Topic
	host  string // multiaddr; empty for a TCP service
}

func parseHostPort(s string) (hostPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q: want HOST:PORT or :PORT", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q: port %q is not a number from 0 to 65535", s, port)
	}
	if host != "" {
		if _, err := parsePublicName(host); err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
	}
	return hostPort(s), nil
}

func parsePublicName(s string) (publicName, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return publicName(ip.String()), nil
	}
	s = strings.ToLower(s)
	for label := range strings.SplitSeq(s, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
		if bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%q is neither a DNS name nor an IP address", s)
		}
	}
	if len(s) > 253 {
		return "", fmt.Errorf("name has %d characters, at most 253", len(s))
	}
	return publicName(s), nil
}

func parseOrigin(s string) (origin, error) {
	if s == "*" {
		return "*", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || s != u.Scheme+"://"+u.Host {
		return "", fmt.Errorf("%q: want scheme://host[:port] or *", s)
	}
	return origin(strings.ToLower(s)), nil
}

func parseStatic(s string) (staticPeer, error) {
	topic, host, found := cutLast(s, "=")
	if !found || !strings.HasPrefix(host, "/") {
		p, err := static.Parse(s)
		return staticPeer{tcp: p}, err
	}
	if topic == "" {
		return staticPeer{}, fmt.Errorf("%q: the topic is empty", s)
	}
	return staticPeer{topic: wtproto.TopicFromText(topic), host: host}, nil
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func parseCIDR(s string) (cidr, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return cidr{}, fmt.Errorf("%q is not a range of addresses such as 10.0.0.0/8", s)
	}
	if p.Addr().Is4In6() {
		return cidr{}, fmt.Errorf("%s: write an IPv4 range as IPv4", s)
	}
	return cidr(p), nil
}

func parseLimit(s string) (limit, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	if n == 0 {
		return 0, errors.New("0 lets nobody in; a negative number is no limit")
	}
	return limit(n), nil
}

// parseSize reads a number of bytes in the form of GOMEMLIMIT: 1073741824, 1048576KiB, 1024MiB,
// 1GiB.
func parseSize(s string) (size, error) {
	digits, shift := s, 0
	for i, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if d, ok := strings.CutSuffix(s, unit); ok && (unit != "B" || !strings.HasSuffix(d, "i")) {
			digits, shift = d, 10*i
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is not a size such as 512MiB", s)
	}
	return size(n << shift), nil
}

func parseDuration(s string) (duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 30s", s)
	}
	return duration(d), nil
}

func parseLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("%q: want debug, info, warn or error", s)
	}
	return l, nil
}

func parseLogFormat(s string) (logFormat, error) {
	if s != "text" && s != "json" {
		return "", fmt.Errorf("%q: want text or json", s)
	}
	return logFormat(s), nil
}

func parseText(s string) (string, error) {
	if s == "" {
		return "", errors.New("it is empty")
	}
	return s, nil
}

// complete fills in what follows from other options, and returns every contradiction between them.
func (o *options) complete() error {
	var errs []error
	if (o.Cert == "") != (o.Key == "") {
		errs = append(errs, errors.New("--cert and --key need each other"))
	}
	if n := len(o.authorizers()); n > 1 {
		errs = append(errs, fmt.Errorf("%s each say who may connect: only one can", strings.Join(o.authorizers(), " and ")))
	}
	if o.JWTAudience != "" && o.JWTKey == "" {
		errs = append(errs, errors.New("--jwt-audience needs --jwt-key"))
	}
	if o.DemoExit && !o.Demo {
		errs = append(errs, errors.New("--demo-exit needs --demo"))
	}
	if o.Demo {
		o.completeDemo()
		if o.DHT != p2p.Private {
			errs = append(errs, fmt.Errorf("--demo finds its peer on a DHT of its own, not with --dht %v", o.DHT))
		}
		for _, flag := range o.authorizers() {
			errs = append(errs, fmt.Errorf("--demo lets everybody in, not by %s", flag))
		}
		if o.Cert != "" {
			errs = append(errs, errors.New("--demo has a certificate of its own, not one of --cert"))
		}
	}
	if len(o.LANInterface) > 0 && !o.LAN {
		errs = append(errs, errors.New("--lan-interface needs --lan"))
	}
	if o.LANAnyHost && !o.LAN {
		errs = append(errs, errors.New("--lan-any-host needs --lan"))
	}
	for _, name := range o.NetworkOnRequest {
		if !slices.Contains([]string{"dht", "lan", "static", wtproto.NetworkClient}, name) {
			errs = append(errs, fmt.Errorf("--network-on-request %q: want dht, lan, static or client", name))
		}
	}
	policy, err := discovery.NewPolicy(o.policy())
	if err != nil {
		errs = append(errs, err)
		policy = new(discovery.Policy)
	}
	for _, listen := range o.hostListens() {
		if err := o.host(listen, nil, policy, nil).Validate(); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(errs...)
}

// authorizers returns the flags that say who may connect.
func (o *options) authorizers() []string {
	var flags []string
	for _, f := range []struct{ flag, value string }{{"--token-file", o.TokenFile}, {"--jwt-key", o.JWTKey}, {"--auth-url", o.AuthURL}} {
		if f.value != "" {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

// completeDemo fills in what a demo is with unless it is told otherwise.
func (o *options) completeDemo() {
	o.AllowPrivate, o.demoTraffic = true, demoTraffic
	if !o.given["dht"] {
		o.DHT = p2p.Private
	}
	if !o.given["lan"] {
		o.LAN = true
	}
	if !o.given["log-level"] {
		o.LogLevel = slog.LevelWarn
	}
}

// listens returns where sessions come in: the first of these that is free.
func (o *options) listens() []hostPort {
	switch {
	case o.Listen != "":
		return []hostPort{o.Listen}
	case o.Demo:
		return []hostPort{"127.0.0.1:4433", "127.0.0.1:0"}
	default:
		return []hostPort{":4433"}
	}
}

// devListens is the same for the plain HTTP of development. It may be empty.
func (o *options) devListens() []hostPort {
	switch {
	case o.DevHTTP != "":
		return []hostPort{o.DevHTTP}
	case o.Demo:
		return []hostPort{"127.0.0.1:8080", "127.0.0.1:0"}
	default:
		return nil
	}
}

// hostListens is the same for the libp2p host. It is empty without a host, and holds nil if the
// host does not listen.
func (o *options) hostListens() [][]string {
	const v4, v6 = "/ip4/0.0.0.0/tcp/", "/ip6/::/tcp/"
	switch {
	case len(o.P2PListen) > 0:
		return [][]string{o.P2PListen}
	case o.Demo:
		return [][]string{{"/ip4/127.0.0.1/tcp/0"}}
	case o.DHT != p2p.Off || o.LAN:
		// The port may be taken, and the machine may have no IPv6.
		return [][]string{
			{v4 + p2pPort, v6 + p2pPort},
			{v4 + p2pPort},
			{v4 + "0", v6 + "0"},
			{v4 + "0"},
		}
	case len(o.staticHosts()) > 0:
		return [][]string{nil}
	default:
		return nil
	}
}

// host returns the configuration of a libp2p host that listens there.
func (o *options) host(listen []string, key ed25519.PrivateKey, policy *discovery.Policy, log *slog.Logger) p2p.Config {
	return p2p.Config{
		Key: key, Listen: listen, Announce: o.P2PAnnounce, Mode: o.DHT, Seeds: o.DHTSeed, Serve: o.DHTServe, Gateway: true,
		Policy: policy, Static: o.staticHosts(), Logger: log,
	}
}

// policy returns the configuration of the address policy.
func (o *options) policy() discovery.PolicyConfig {
	return discovery.PolicyConfig{Allow: prefixes(o.DialAllow), Private: o.AllowPrivate, LANInterfaces: o.LANInterface}
}

// prefixes returns the ranges of list, but those that are mistakes, which were told.
func prefixes(list []cidr) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		if p := netip.Prefix(p); p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// staticHosts returns the libp2p hosts of --static.
func (o *options) staticHosts() map[wtproto.Topic][]string {
	hosts := make(map[wtproto.Topic][]string)
	for _, p := range o.Static {
		if p.host != "" {
			hosts[p.topic] = append(hosts[p.topic], p.host)
		}
	}
	return hosts
}

// staticServices returns the TCP services of --static.
func (o *options) staticServices() []static.Peer {
	var services []static.Peer
	for _, p := range o.Static {
		if p.host == "" {
			services = append(services, p.tcp)
		}
	}
	return services
}

// names returns the public names as texts.
func (o *options) names() []string {
	names := make([]string, len(o.Name))
	for i, n := range o.Name {
		names[i] = string(n)
	}
	return names
}

// origins returns the origins that sessions may come from. The gateway listens on port, and on dev
// for development; dev may be nil.
func (o *options) origins(port int, dev net.Listener) []string {
	var list []string
	for _, n := range o.names() {
		list = append(list, originOf("https", n, 443), originOf("https", n, port))
	}
	if dev != nil {
		if a := reachable(dev.Addr()); a.Addr().IsLoopback() {
			list = append(list, originOf("http", a.Addr().String(), int(a.Port())), originOf("http", "localhost", int(a.Port())))
		}
	}
	for _, n := range o.AllowOrigin {
		list = append(list, string(n))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// authority returns the HOST:PORT that clients shall connect to if the gateway listens on addr. It
// is empty for the host that they asked.
func (o *options) authority(addr net.Addr) string {
	a := ipPort(addr)
	switch {
	case len(o.Name) > 0:
		return net.JoinHostPort(string(o.Name[0]), strconv.Itoa(int(a.Port())))
	case a.Addr().IsLoopback():
		return a.String() // localhost may stand for another address
	default:
		return ""
	}
}

// onLoopback reports whether the libp2p host cannot be reached from other machines.
func (o *options) onLoopback() bool {
	listens := o.hostListens()[0]
	return !slices.ContainsFunc(listens, func(m string) bool {
		return !strings.HasPrefix(m, "/ip4/127.") && !strings.HasPrefix(m, "/ip6/::1/")
	})
}

// originOf returns an origin as browsers spell it.
func originOf(scheme, host string, port int) string {
	if scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}
