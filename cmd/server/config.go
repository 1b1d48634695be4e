package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/p2p"
	"github.com/swarmgate/swarmgate/discovery/static"
	"github.com/swarmgate/swarmgate/internal/hostname"
	"github.com/swarmgate/swarmgate/internal/manpage"
	"github.com/swarmgate/swarmgate/wtproto"
)

// p2pPort is the TCP port of the libp2p host, unless the configuration says where it listens.
const p2pPort = "4434"

// options are the configuration. Each field is a flag, a variable of the environment (its name in
// upper case after SWARMGATE_) and a key of the YAML file (its name). A test makes the table in
// docs/OPERATING.md from the tags.
type options struct {
	Listen  hostPort `group:"Listeners" placeholder:"ADDR" help:"Where sessions come in: QUIC and HTTP/3 on this UDP port, HTTPS and WebSocket on the same TCP port. Port 0 takes a free one. Unless given, :4433, and 127.0.0.1:4433 with --demo."`
	DevHTTP hostPort `name:"dev-http" group:"Listeners" placeholder:"ADDR" help:"Also answer plain HTTP here, WebSocket too: for development, and for a proxy that terminates TLS. Pages from here may open sessions if it is a loopback address. Unless given, none, and 127.0.0.1:8080 with --demo."`
	Admin   hostPort `group:"Listeners" placeholder:"ADDR" help:"Answer operators here, on plain HTTP: /healthz, /readyz, /metrics, /api/topics, /api/principals. Keep it from others: it tells topics and peers' addresses and asks for no password."`
	Pprof   bool     `group:"Listeners" help:"Let operators look at the running program on --admin, below /debug/pprof/: go tool pprof reads it."`
	Qlog    bool     `group:"Listeners" help:"Let operators have the qlog of the next QUIC connection on --admin: /debug/qlog, or /debug/qlog?address=IP of the client. It holds packets and frames, and no content."`

	TrustedProxy []cidr `group:"Listeners" placeholder:"CIDR" help:"A load balancer in front of --listen. Its TCP connections must begin with the PROXY protocol, which names the client's address. UDP has no such thing, so the limits of addresses do not apply to UDP from there. Also a proxy in front of --dev-http, whose X-Forwarded-For is believed."`

	Name           []publicName `group:"Clients" placeholder:"NAME" help:"A public name or IP address of this gateway, with a port if clients need another one than that of --listen: in the pinned certificate, as an origin of pages, as a Host of plain HTTP. Clients are told to connect to the first one, without a port to the port that they asked by https."`
	AllowOrigin    []origin     `group:"Clients" placeholder:"ORIGIN" help:"Let pages from here open sessions, such as https://app.example; https://*.app.example stands for all names below that one, * for all pages."`
	ConnectClients bool         `group:"Clients" negatable:"" default:"true" help:"Connect clients of this gateway with each other."`
	ShowAddresses  bool         `group:"Clients" help:"Tell clients the addresses of native peers."`
	TokenFile      string       `group:"Clients" placeholder:"FILE" help:"Let in clients with a token that this file lists, read again when it changes: swarm token new writes it. Without this, --jwt-key and --auth-url, everybody may connect."`
	JWTKey         string       `name:"jwt-key" group:"Clients" placeholder:"FILE" help:"Let in clients with a JSON Web Token (EdDSA or ES256) that a key of this file has signed: public keys in PEM, or a JSON Web Key Set. It is read again when it changes."`
	JWTAudience    string       `name:"jwt-audience" group:"Clients" placeholder:"NAME" help:"The name that the claim aud of these tokens must have. Without it they must not have the claim."`
	AuthURL        string       `name:"auth-url" group:"Clients" placeholder:"URL" help:"Ask a web service there who may connect, by POST of JSON: https, or http on loopback."`
	StateDir       string       `group:"Clients" placeholder:"DIR" help:"Keep keys and the gateway's own certificate here, so that it is the same gateway after a restart. Each gateway needs its own directory. Without it they are new at each start."`

	Cert           string   `group:"Certificates" placeholder:"FILE" help:"Certificate chain in PEM, read again when it changes. Without it and --acme the gateway makes its own certificate, which clients trust by its hash."`
	Key            string   `group:"Certificates" placeholder:"FILE" help:"Private key of --cert in PEM."`
	ACME           bool     `name:"acme" group:"Certificates" help:"Get a certificate for each --name from an authority, Let's Encrypt unless told otherwise, and renew it. By this you agree to the authority's terms. It asks the gateway for a proof at TCP port 443 of the name, which has to lead to --listen, or at port 80 with --acme-http. Until it has answered, and if it refuses, the gateway's own certificate is served, as without --acme."`
	ACMEHTTP       hostPort `name:"acme-http" group:"Certificates" placeholder:"ADDR" help:"Prove the names over plain HTTP here (HTTP-01), which has to be port 80 of each name, and not over TLS on the TCP port of --listen (TLS-ALPN-01). Other requests are sent to HTTPS."`
	ACMEStaging    bool     `name:"acme-staging" group:"Certificates" help:"Use the staging environment of Let's Encrypt, whose certificates nobody trusts, to try whether it works: the real one answers few mistakes an hour."`
	ACMECA         string   `name:"acme-ca" group:"Certificates" placeholder:"URL" help:"The ACME directory of another authority, for example of your own."`
	ACMERoots      string   `name:"acme-roots" group:"Certificates" placeholder:"FILE" help:"Root certificates in PEM by which to trust the HTTPS server of --acme-ca, instead of those of the system."`
	ACMEEmail      string   `name:"acme-email" group:"Certificates" placeholder:"ADDRESS" help:"How the authority can reach you."`
	ACMEProfile    string   `name:"acme-profile" group:"Certificates" placeholder:"NAME" help:"A kind of certificate that the authority offers. Unless given its default one, and shortlived for IP addresses at Let's Encrypt, which has no other for them."`
	ACMEAccount    string   `name:"acme-account" group:"Certificates" placeholder:"ID" help:"The id of the account that you have with the authority (External Account Binding), if it wants one."`
	ACMEAccountKey string   `name:"acme-account-key" group:"Certificates" placeholder:"FILE" help:"A file with the key (HMAC, in base64) of --acme-account."`
	ACMEDir        string   `name:"acme-dir" group:"Certificates" placeholder:"DIR" help:"A directory that the gateways of a fleet share for their certificates, so that one gets them for all. Unless given, acme in the state directory."`
	ACMECheck      duration `name:"acme-check" group:"Certificates" placeholder:"10m" default:"10m" help:"How often to look whether a certificate has to be renewed, which is so when a third of its life is left. Less for an authority whose certificates live for less than a day."`

	DHT              p2p.Mode     `name:"dht" group:"Networks" placeholder:"public" default:"public" help:"Which DHT to look for peers in: public (the one of IPFS), private (of swarmgate hosts, entered by --dht-seed) or off."`
	DHTSeed          []string     `name:"dht-seed" group:"Networks" placeholder:"MULTIADDR" help:"A host by which to enter the DHT, such as /ip4/192.0.2.1/tcp/4434/p2p/12D3Koo…"`
	DHTServe         p2p.Serve    `name:"dht-serve" group:"Networks" placeholder:"auto" default:"auto" help:"Whether to serve the private DHT, so that others can ask this host: auto (once somebody could connect to this host from where its seeds are; at once without seeds), always or never."`
	P2PListen        []string     `name:"p2p-listen" env:"SWARMGATE_P2P_LISTEN" group:"Networks" placeholder:"MULTIADDR" help:"Where the libp2p host listens for other hosts. Unless given, /ip4/0.0.0.0/tcp/4434 and /ip6/::/tcp/4434, or free ports where these are taken; a free port of 127.0.0.1 with --demo."`
	P2PAnnounce      []string     `name:"p2p-announce" env:"SWARMGATE_P2P_ANNOUNCE" group:"Networks" placeholder:"MULTIADDR" help:"An address by which other hosts reach this one, such as /ip4/192.0.2.1/tcp/4434, if none of its own interfaces has it: behind a router that forwards a port, or in a container. Other hosts learn these addresses instead of its own."`
	LAN              bool         `name:"lan" group:"Networks" negatable:"" help:"Look for peers on the LAN, and be found there (multicast DNS). On with --demo."`
	LANInterface     []string     `name:"lan-interface" group:"Networks" placeholder:"NAME" help:"The network interface of the LAN. Without it, all that are neither loopback nor point-to-point."`
	LANAnyHost       bool         `name:"lan-any-host" group:"Networks" help:"Believe a machine on the LAN that publishes TCP services of another one, as avahi-publish -H does. Without it a service is dialed at the address that its announcement came from."`
	Static           []staticPeer `group:"Networks" placeholder:"TOPIC=PEER" help:"A peer that is always there: TOPIC=tcp://HOST:PORT for a TCP service, TOPIC=MULTIADDR for a libp2p host."`
	Dat              bool         `name:"dat" group:"Networks" help:"Reach old peers too (Dat, discovery-swarm), for topics whose JOIN names the network dat or discovery-swarm: by the mainline DHT, by dns-discovery, and with --lan by its multicast form. Strangers then see the first 20 bytes of such a topic."`
	DatBootstrap     []datNode    `name:"dat-bootstrap" group:"Networks" placeholder:"HOST:PORT" help:"A node by which to enter the mainline DHT. Unless given, the public ones; none keeps off that DHT."`
	DatDNS           []datNode    `name:"dat-dns" group:"Networks" placeholder:"HOST:PORT" help:"A server of dns-discovery to ask and to announce to. Without it none is asked."`
	DatListen        hostPort     `name:"dat-listen" group:"Networks" placeholder:"ADDR" help:"Take connections of old peers at this TCP port: those whose first bytes name the topic, as hypercore-protocol 6 does, on the network dat. The UDP port of the same number is that of the DHT. Without it and --dat-ports, topics are only looked up."`
	DatPorts         datPorts     `name:"dat-ports" group:"Networks" placeholder:"FROM-TO" help:"TCP ports for one topic each, such as 40000-40099, on the host of --dat-listen. Their connections need not name the topic: so the network discovery-swarm can be found only by these, and dat by peers of any protocol whose dialer speaks first."`
	NetworkOnRequest []string     `group:"Networks" placeholder:"NAME" help:"A network that a client gets only if its JOIN asks for it by name: dht, lan, static or client. Clients that name none get all others."`
	DialAllow        []cidr       `group:"Networks" placeholder:"CIDR" help:"Also dial peers at these addresses. Without it only public ones are dialed, and on the LAN its own."`
	AllowPrivate     bool         `group:"Networks" help:"Dial peers at all private and loopback addresses: for tests and development."`

	MaxSessions             limit    `group:"Limits" placeholder:"10000" default:"10000" help:"Sessions at once. Here and below, a negative number means no limit."`
	MaxSessionsPerPrincipal limit    `group:"Limits" placeholder:"256" default:"256" help:"Sessions at once from one IPv4 address or IPv6 /64; four times as many from a /56, sixteen times from a /48."`
	HandshakesPerAddress    limit    `group:"Limits" placeholder:"100" default:"100" help:"Connections a second from one IPv4 address or IPv6 /64, to the UDP port and to each HTTP listener; twice as many at once."`
	MaxTopics               limit    `group:"Limits" placeholder:"64" default:"64" help:"Topics that a session may have joined at once."`
	MaxTopicsPerPrincipal   limit    `group:"Limits" placeholder:"512" help:"Topics at once of all sessions of one name or address, with those that they left in the last seconds. Unless given, eight times --max-topics."`
	MaxTopicsTotal          limit    `group:"Limits" placeholder:"20000" default:"20000" help:"Topics at once of the gateway."`
	NewCircuits             limit    `group:"Limits" placeholder:"500" default:"500" help:"Circuits a second that one name or address may begin, and ten times as many at once."`
	NewTopics               limit    `group:"Limits" placeholder:"300" default:"300" help:"New topics a minute that one name or address may join: those that nobody is on yet."`
	MaxCircuits             limit    `group:"Limits" placeholder:"256" default:"256" help:"Circuits that a session may have at once: those with peers, and further ones."`
	MaxPairCircuits         limit    `group:"Limits" placeholder:"224" help:"Further circuits that a session may have with one peer on a topic. Unless given, seven eighths of --max-circuits."`
	MaxCircuitsPerPrincipal limit    `group:"Limits" placeholder:"4096" help:"The same of all sessions of one name or address. Unless given, sixteen times --max-circuits."`
	MaxCircuitsTotal        limit    `group:"Limits" placeholder:"100000" default:"100000" help:"The same of all sessions of the gateway."`
	DefaultPeers            limit    `group:"Limits" placeholder:"64" default:"64" help:"Peers a topic for a client that does not ask for a number, 16 of them other clients."`
	Memory                  size     `group:"Limits" placeholder:"SIZE" help:"Memory that the program may use, such as 512MiB. Go keeps to four fifths of it, unless GOMEMLIMIT is set. Without it GOMEMLIMIT, else the limit of the cgroup, else half of the RAM."`
	Drain                   duration `group:"Limits" placeholder:"30s" default:"30s" help:"How long open circuits may go on after SIGTERM. A second signal ends at once."`

	LogLevel  slog.Level       `group:"Program" placeholder:"info" default:"info" help:"The lowest level of log lines: debug, info, warn or error."`
	LogFormat logFormat        `group:"Program" placeholder:"text" default:"text" help:"The format of log lines: text or json."`
	Demo      bool             `group:"Program" help:"Show the gateway at work: start one on loopback, with a peer and a client. Implies --allow-private, and unless given --dht private and --lan."`
	DemoExit  bool             `group:"Program" help:"End the demo after its summary."`
	Config    kong.ConfigFlag  `group:"Program" placeholder:"FILE" help:"A YAML file with options. Flags and environment variables override it."`
	Check     bool             `group:"Program" env:"-" help:"Say all mistakes in the configuration and in the files that it names, and end: with status 0 if there are none. This opens no port and changes nothing, and another gateway may be running."`
	Version   kong.VersionFlag `group:"Program" env:"-" help:"Print the version."`
	Man       manpage.Flag     `group:"Program" env:"-" hidden:"" help:"Print the manual page."`

	given       map[string]bool // flags that somebody gave, by name
	notes       []note
	demoTraffic int64 // bytes that the demo sends
}

// Types of flags, each with its own way to be read.
type (
	hostPort   string // HOST:PORT; HOST may be empty
	publicName hostname.HostPort
	origin     string // as server.Config.Origins takes it
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
		if host, err = hostname.Parse(host); err == nil {
			err = checkHyphens(host)
		}
		if err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
	}
	return hostPort(s), nil
}

func parsePublicName(s string) (publicName, error) {
	n, err := hostname.ParseHostPort(s)
	if err == nil {
		err = checkHyphens(n.Host)
	}
	if err == nil && strings.Contains(n.Host, "%") {
		err = fmt.Errorf("%q: an address with a zone means nothing to other machines", s)
	}
	if err != nil {
		return publicName{}, err
	}
	return publicName(n), nil
}

// checkHyphens reports a part of a name that no machine has.
func checkHyphens(host string) error {
	for label := range strings.SplitSeq(host, ".") {
		if strings.Trim(label, "-") != label {
			return fmt.Errorf("%q: no part of a name begins or ends with a hyphen", host)
		}
	}
	return nil
}

func parseOrigin(s string) (origin, error) {
	o, err := hostname.ParseOrigins(s)
	if err != nil {
		return "", err
	}
	return origin(o.String()), nil
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
		return 0, errors.New("0 lets nobody in; a negative number means no limit")
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
	errs = append(errs, o.checkACME())
	if n := len(o.authorizers()); n > 1 {
		errs = append(errs, fmt.Errorf("%s each say who may connect: only one can", strings.Join(o.authorizers(), " and ")))
	}
	if o.JWTAudience != "" && o.JWTKey == "" {
		errs = append(errs, errors.New("--jwt-audience needs --jwt-key"))
	}
	for flag, given := range map[string]bool{"--pprof": o.Pprof, "--qlog": o.Qlog} {
		if given && o.Admin == "" {
			errs = append(errs, fmt.Errorf("%s needs --admin", flag))
		}
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
		if o.Cert != "" || o.ACME {
			errs = append(errs, errors.New("--demo has a certificate of its own, not one of --cert or --acme"))
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
	errs = append(errs, o.checkDat())
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

// completeDemo fills in the options of a demo that are not set.
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

// listens returns the addresses for sessions. The gateway uses the first free one.
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

// prefixes returns the valid ranges of list. The parser has reported the others.
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

// names returns the public names without ports, each once.
func (o *options) names() []string {
	names := make([]string, 0, len(o.Name))
	for _, n := range o.Name {
		if !slices.Contains(names, n.Host) {
			names = append(names, n.Host)
		}
	}
	return names
}

// publicNames returns the public names of a gateway that listens on addr, with their ports.
func (o *options) publicNames(addr net.Addr) []string {
	var names []string
	for _, n := range o.Name {
		names = append(names, hostname.HostPort(n).String())
	}
	if a := ipPort(addr); len(names) == 0 && a.Addr().IsLoopback() {
		return []string{a.String()} // localhost may mean another address
	}
	return names
}

// origins returns the origins that sessions may come from, beside those of the gateway's own
// pages. It listens on dev for development, which may be nil.
func (o *options) origins(dev net.Listener) []string {
	var list []string
	if dev != nil {
		if a := reachable(dev.Addr()); a.Addr().IsLoopback() {
			for _, host := range []string{a.Addr().String(), "localhost", "*.localhost"} {
				list = append(list, "http://"+hostname.HostPort{Host: host, Port: a.Port()}.String())
			}
		}
	}
	for _, n := range o.AllowOrigin {
		list = append(list, string(n))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// onLoopback reports whether the libp2p host cannot be reached from other machines.
func (o *options) onLoopback() bool {
	listens := o.hostListens()[0]
	return !slices.ContainsFunc(listens, func(m string) bool {
		return !strings.HasPrefix(m, "/ip4/127.") && !strings.HasPrefix(m, "/ip6/::1/")
	})
}
