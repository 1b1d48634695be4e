package dat

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Host is this process among old peers: the ways, the listeners and the circuits, which its two
// networks share. Make it with [Listen]. Any number of goroutines may use it.
type Host struct {
	// constant after newHost
	cfg      Config
	log      *slog.Logger
	ways     []way
	public   *discovery.TCPDialer
	lan      *discovery.TCPDialer
	plain    *network
	swarm    *network
	secret   [32]byte // makes the ids of handshakes
	ports    *ports
	shared   *door // nil without
	visits   *crowd.Crowd[*net.TCPConn]
	patience time.Duration // how long visitors and members may take to speak
	life     context.Context
	end      context.CancelFunc
	routines sync.WaitGroup // grows while mu is held and life goes on

	mu      sync.Mutex
	trails  map[trailKey]*trail                  // guarded by mu
	ending  map[trailKey]<-chan struct{}         // guarded by mu; trails that are being left
	present map[id]map[*join]struct{}            // guarded by mu; those that follow a trail
	own     map[netip.AddrPort]time.Time         // guarded by mu; addresses at which we met ourselves, and until when that counts
	counts  map[member]int                       // guarded by mu; open circuits
	guests  map[guest]int                        // guarded by mu; those of strangers
	shaken  map[shake][]*circuit                 // guarded by mu; those with a handshake
	names   map[wtproto.Topic]map[address]string // guarded by mu; whose id an address has had
	echoes  map[*echo]struct{}                   // guarded by mu
}

const (
	// maxOwn is how many addresses of our own a host remembers. There are one or two.
	maxOwn = 64
	// ownFor is how long it remembers one: addresses change hands.
	ownFor = 10 * time.Minute
)

// Listen starts a host. Its error has every mistake in cfg, or names what cannot be opened.
func Listen(cfg Config) (*Host, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var shared *net.TCPListener
	var err error
	if cfg.Listen != "" {
		if shared, err = listenTCP(cfg.Listen); err != nil {
			return nil, fmt.Errorf("dat: %w", err)
		}
	}
	ways, err := openWays(&cfg, shared)
	if err != nil {
		if shared != nil {
			shared.Close()
		}
		return nil, err
	}
	return newHost(cfg, ways, shared), nil
}

// newHost returns a host that owns ways, and shared unless that is nil.
func newHost(cfg Config, ways []way, shared *net.TCPListener) *Host {
	h := &Host{
		cfg: cfg, log: cfg.Logger, ways: ways,
		public:   discovery.NewTCPDialer(cfg.Policy, discovery.SourcePublic),
		lan:      discovery.NewTCPDialer(cfg.Policy, discovery.SourceLAN),
		ports:    newPorts(cfg.listenHost(), cfg.Ports),
		visits:   crowd.New[*net.TCPConn](maxVisits, maxVisitsEach),
		patience: visitWithin,
		trails:   make(map[trailKey]*trail),
		ending:   make(map[trailKey]<-chan struct{}),
		present:  make(map[id]map[*join]struct{}),
		own:      make(map[netip.AddrPort]time.Time),
		counts:   make(map[member]int),
		guests:   make(map[guest]int),
		shaken:   make(map[shake][]*circuit),
		names:    make(map[wtproto.Topic]map[address]string),
		echoes:   make(map[*echo]struct{}),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	rand.Read(h.secret[:])
	h.plain = &network{host: h, name: nameDat}
	h.swarm = &network{host: h, name: nameSwarm, handshake: true}
	h.life, h.end = context.WithCancel(context.Background())
	for _, port := range h.OwnPorts() {
		cfg.Policy.AddOwn(netip.AddrPortFrom(netip.Addr{}, port))
	}
	if shared != nil {
		cfg.Policy.AddOwn(crowd.AddrPortOf(shared.Addr()))
		h.shared = h.open(shared, nil)
	}
	return h
}

// Networks returns the two networks of the host: dat, whose connections begin with the bytes of
// the client, and discovery-swarm, whose connections begin with the handshake of that program.
// They share the host: Close of either closes both.
func (h *Host) Networks() []discovery.Network { return []discovery.Network{h.plain, h.swarm} }

// Close ends all joins, dials and circuits, and waits for the host's goroutines.
func (h *Host) Close() error {
	h.mu.Lock()
	h.end()
	h.mu.Unlock()
	if h.shared != nil {
		h.shared.close()
	}
	h.public.Close()
	h.lan.Close()
	h.routines.Wait()
	for _, w := range h.ways {
		w.close()
	}
	return nil
}

// enter counts a join, unless the host is closed.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life.Err() != nil {
		return false
	}
	h.routines.Add(1)
	return true
}

// isOwnLocked reports whether we have met ourselves at a lately.
func (h *Host) isOwnLocked(a netip.AddrPort, now time.Time) bool { return now.Before(h.own[a]) }

// noteOwn remembers that we met ourselves at a, for example through a router. If there are too many
// addresses, it forgets the oldest.
func (h *Host) noteOwn(a netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.own[a]; !known && len(h.own) >= maxOwn {
		var oldest netip.AddrPort
		for b, until := range h.own {
			if !oldest.IsValid() || until.Before(h.own[oldest]) {
				oldest = b
			}
		}
		delete(h.own, oldest)
	}
	h.own[a] = time.Now().Add(ownFor)
	for _, t := range h.trails {
		t.dropLocked(a)
	}
}

// OwnPorts returns the TCP ports on which the host listens, or may listen.
func (h *Host) OwnPorts() []uint16 {
	var all []uint16
	for i := range h.cfg.Ports.size() {
		all = append(all, h.cfg.Ports.First+uint16(i))
	}
	if h.shared != nil {
		all = append(all, h.shared.port())
	}
	return all
}

// ownPorts are the ports of a host.
type ownPorts struct {
	shared uint16 // 0 without
	topics PortRange
}

func (o ownPorts) has(port uint16) bool {
	return port != 0 && (port == o.shared || o.topics.size() > 0 && o.topics.First <= port && port <= o.topics.Last)
}

// ownPorts returns the ports of the host.
func (h *Host) ownPorts() ownPorts {
	own := ownPorts{topics: h.cfg.Ports}
	if h.shared != nil {
		own.shared = h.shared.port()
	}
	return own
}
