package p2p

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Mode says which DHT a host is on.
type Mode int

const (
	Off     Mode = iota // no DHT: only hosts of the LAN and configured ones
	Private             // a DHT of our own, as Serve says, entered by the configured seeds
	Public              // the Amino DHT of IPFS, as a client
)

// ParseMode reads "off", "private" or "public".
func ParseMode(s string) (Mode, error) {
	for m := Off; m <= Public; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return Off, fmt.Errorf("p2p: mode %q: want off, private or public", s)
}

// String returns what [ParseMode] reads, or the number of an unknown mode.
func (m Mode) String() string {
	switch m {
	case Off:
		return "off"
	case Private:
		return "private"
	case Public:
		return "public"
	default:
		return fmt.Sprintf("Mode(%d)", int(m))
	}
}

// Config sets up a [Host]. A zero field means its documented default.
type Config struct {
	// Key is the host's identity. Nil makes a random one.
	Key ed25519.PrivateKey
	// Listen are the multiaddrs to listen on, /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT; port
	// 0 takes a free one. With none, the host can dial others and nobody can dial it.
	Listen []string
	// Announce are the multiaddrs, in the form of Listen, by which others reach the host if that
	// is not possible at those of Listen: behind a router that forwards a port, or in a container.
	// The host announces them instead of the others. None means the addresses of Listen, and those
	// at which several other hosts say that they reach us.
	Announce []string
	// Mode is the DHT.
	Mode Mode
	// Seeds are the multiaddrs of hosts by which the DHT is entered, with /p2p/ID at the end, and
	// a name (/dns, /dns4, /dns6, /dnsaddr) or an address at the front. The policy always allows
	// them. None means the public seeds of IPFS if Mode is Public. Otherwise it means that others
	// enter the DHT by this host.
	Seeds []string
	// Serve says whether the host is a server of a private DHT.
	Serve Serve
	// Gateway says that the host speaks for clients. If not, it is a native peer with one
	// endpoint, the zero value.
	Gateway bool
	// Policy decides which addresses are dialed; the host adds its own listen addresses to it.
	// Required. Two hosts that want to connect to each other must not share one.
	Policy *discovery.Policy
	// Static are the multiaddrs of hosts of a topic that the operator knows, in the form of Seeds.
	Static map[wtproto.Topic][]string

	// DialTimeout is how long connecting to a host may take. Zero means 5s.
	DialTimeout time.Duration
	// AnswerTimeout is how long another host, or the caller of Join, may take for the first frame
	// of a stream and for each answer. Zero means 10s.
	AnswerTimeout time.Duration
	// LookUpMin and LookUpRest bound the delay between two look-ups of a topic in the DHT. It
	// starts with LookUpMin and doubles up to LookUpRest while nothing changes. If the topic has
	// met as many peers as it wants, it is LookUpRest. Zero means 500ms, and 30m or LookUpEvery if
	// that is more.
	LookUpMin, LookUpRest time.Duration
	// LookUpEvery bounds the delay, which grows from LookUpMin, between two attempts to reach the
	// hosts of a topic that are known without the DHT. Zero means 1m.
	LookUpEvery time.Duration
	// LookUps and Announcements are how many walks in the DHT may run at once, to look up a topic,
	// and to announce topics. Zero means 64 and 16.
	LookUps, Announcements int
	// WalkRate is how many walks may begin each second, and WalkBurst how many at once after a
	// pause. Zero means 10 and 50 on the public DHT, which belongs to others, else 200 and 200.
	WalkRate, WalkBurst int
	// RetryMin and RetryMax are the delays, growing likewise, before a host that failed or refused
	// is tried again if somebody still finds it. Zero means 1s and 10m.
	RetryMin, RetryMax time.Duration
	// SeedMin and SeedMax are the delays, growing likewise, between two attempts to enter the DHT.
	// Zero means 1s and 1m.
	SeedMin, SeedMax time.Duration
	// AnnounceEvery is how often a topic is announced again. Zero means 22h on the public DHT,
	// else 10m.
	AnnounceEvery time.Duration
	// RecordValidity is how long this host remembers what others announce on a private DHT. Zero
	// means 30m.
	RecordValidity time.Duration
	// Hold is how long a sighting holds; it is repeated twice in that time. Zero means 10m.
	Hold time.Duration
	// LAN says that somebody will call [Host.HostSeen] for hosts on the LAN. Their peers are of
	// the network "lan".
	LAN bool
	// HoldLAN is how long a host seen by [Host.HostSeen] is remembered. Zero means 90s.
	HoldLAN time.Duration
	// KeepAlive is how long a connection may be silent before the host sends a ping, and how long
	// the answer may take. Zero means 10s.
	KeepAlive time.Duration

	// Observer gets events of look-ups and announcements in the DHT. It may be nil.
	Observer *discovery.Observer
	// Logger takes the log. Nil is silent.
	Logger *slog.Logger
}

// settings are a valid Config in parsed form.
type settings struct {
	Config
	key      crypto.PrivKey
	listen   []ma.Multiaddr
	announce []ma.Multiaddr
	seeds    []target // other hosts
	// selfSeeds are those of Seeds that have this host's own id.
	selfSeeds []target
	static    map[wtproto.Topic][]target
}

// read returns the settings of c, or every mistake in it.
func (c Config) read() (settings, error) {
	s := settings{Config: c, static: make(map[wtproto.Topic][]target)}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	s.key = readKey(c.Key, fail)
	var bad failures
	for _, a := range c.Listen {
		m, err := parseMultiaddr(a)
		if _, ok := plainTCP(m); err == nil && (!ok || len(m) != 2) {
			err = errNotPlainTCP
		}
		bad.add(a, err)
		s.listen = append(s.listen, m)
	}
	bad.report("Listen", fail)
	s.announce = readAnnounce(c, fail)
	if c.Mode < Off || c.Mode > Public {
		fail("Mode: %v is unknown", c.Mode)
	}
	if c.Serve < ServeAuto || c.Serve > ServeNever {
		fail("Serve: %v is unknown", c.Serve)
	}
	if c.Policy == nil {
		fail("Policy is required")
	}
	var id peer.ID // of this host
	if s.key != nil {
		id, _ = peer.IDFromPrivateKey(s.key) // an Ed25519 key has one
	}
	seeds := c.Seeds
	if c.Mode == Public && len(seeds) == 0 {
		seeds = publicSeeds()
	}
	for _, a := range seeds {
		t, err := parseTarget(a)
		bad.add(a, err)
		if t.id == id && err == nil {
			s.selfSeeds = append(s.selfSeeds, t)
		} else {
			s.seeds = append(s.seeds, t)
		}
	}
	bad.report("Seeds", fail)
	for topic, addrs := range c.Static {
		for _, a := range addrs {
			t, err := parseTarget(a)
			bad.add(a, err)
			t.network = networkStatic
			s.static[topic] = append(s.static[topic], t)
		}
	}
	bad.report("Static", fail)
	announce, walks, burst := 10*time.Minute, 200, 200
	if c.Mode == Public {
		announce = 22 * time.Hour // the public DHT keeps a record for 48 h
		walks, burst = 10, 50
	}
	for _, n := range []struct {
		name string
		n    *int
		def  int
	}{
		{"LookUps", &s.LookUps, 64},
		{"Announcements", &s.Announcements, 16},
		{"WalkRate", &s.WalkRate, walks},
		{"WalkBurst", &s.WalkBurst, burst},
	} {
		if *n.n < 0 {
			fail("%s is negative", n.name)
		}
		if *n.n == 0 {
			*n.n = n.def
		}
	}
	for _, d := range []struct {
		name string
		d    *time.Duration
		def  time.Duration
	}{
		{"DialTimeout", &s.DialTimeout, 5 * time.Second},
		{"AnswerTimeout", &s.AnswerTimeout, 10 * time.Second},
		{"LookUpMin", &s.LookUpMin, 500 * time.Millisecond},
		{"LookUpEvery", &s.LookUpEvery, time.Minute},
		{"LookUpRest", &s.LookUpRest, max(30*time.Minute, c.LookUpEvery)},
		{"RetryMin", &s.RetryMin, time.Second},
		{"RetryMax", &s.RetryMax, 10 * time.Minute},
		{"SeedMin", &s.SeedMin, time.Second},
		{"SeedMax", &s.SeedMax, time.Minute},
		{"AnnounceEvery", &s.AnnounceEvery, announce},
		{"RecordValidity", &s.RecordValidity, 30 * time.Minute},
		{"Hold", &s.Hold, 10 * time.Minute},
		{"HoldLAN", &s.HoldLAN, 90 * time.Second},
		{"KeepAlive", &s.KeepAlive, 10 * time.Second},
	} {
		if *d.d < 0 {
			fail("%s is negative", d.name)
		}
		if *d.d == 0 {
			*d.d = d.def
		}
	}
	for _, d := range []struct {
		name     string
		min, max time.Duration
	}{
		{"LookUpEvery", s.LookUpMin, s.LookUpEvery},
		{"LookUpRest", s.LookUpMin, s.LookUpRest},
		{"RetryMax", s.RetryMin, s.RetryMax},
		{"SeedMax", s.SeedMin, s.SeedMax},
	} {
		if d.max < d.min {
			fail("%s is %v, less than the delay that it grows from, %v", d.name, d.max, d.min)
		}
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	return s, errors.Join(errs...)
}

// readAnnounce returns the addresses of c.Announce.
func readAnnounce(c Config, fail func(string, ...any)) (addrs []ma.Multiaddr) {
	public, _ := discovery.NewPolicy(discovery.PolicyConfig{}) // an empty config has no mistakes
	var bad failures
	for _, a := range c.Announce {
		m, err := parseMultiaddr(a)
		m, _ = peer.SplitAddr(m)
		addr, ok := plainTCP(m)
		switch {
		case err != nil:
		case !ok && isName(m):
			err = errors.New("want an IP address: other hosts do not resolve names")
		case !ok || addr.Port() == 0 || addr.Addr().IsUnspecified():
			err = errNotPlainTCP
		case len(c.Listen) == 0:
			err = errors.New("the host listens nowhere")
		case c.Mode == Public && public.Check(discovery.SourcePublic, addr) != nil:
			err = errors.New("want a public address with the public DHT")
		default:
			addrs = append(addrs, m)
		}
		bad.add(a, err)
	}
	bad.report("Announce", fail)
	return addrs
}

// failures are the mistakes in a field that lists addresses.
type failures []oneline.Failure

// add notes what is wrong with an address, if err is not nil.
func (f *failures) add(address string, err error) {
	if err != nil {
		*f = append(*f, oneline.Failure{Of: address, Err: err})
	}
}

// report tells of all mistakes in a field, in one line, and forgets them.
func (f *failures) report(field string, fail func(string, ...any)) {
	if err := oneline.Join(*f...); err != nil {
		fail(field+": %w", err)
	}
	*f = nil
}

// dhtServe returns Serve as it applies to the settings.
func (s settings) dhtServe() Serve {
	switch {
	case s.Serve == ServeAuto && len(s.listen) == 0:
		return ServeNever
	case s.Serve == ServeAuto && (len(s.selfSeeds) > 0 || len(s.seeds) == 0 || len(s.announce) > 0):
		return ServeAlways
	default:
		return s.Serve
	}
}

// readKey returns k for libp2p, or a random key.
func readKey(k ed25519.PrivateKey, fail func(string, ...any)) crypto.PrivKey {
	if k == nil {
		_, random, err := ed25519.GenerateKey(nil)
		if err != nil {
			fail("Key: %w", err)
			return nil
		}
		k = random
	}
	if len(k) != ed25519.PrivateKeySize {
		fail("Key has %d bytes, want %d", len(k), ed25519.PrivateKeySize)
		return nil
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(k)
	if err != nil {
		fail("Key: %w", err)
	}
	return key
}
