package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
)

// name is the name of the network.
const name = "lan"

// The delays after a failure of the sockets.
const (
	retryMin = time.Second
	retryMax = 25 * time.Second
)

// Network is the [discovery.Network] of the TCP services of a LAN. It also publishes and finds
// libp2p hosts there.
type Network struct {
	cfg     Config // with defaults; constant after New
	dialer  *discovery.TCPDialer
	browser *browser

	// Tests replace these; constant after New.
	listen   func() (conn, error)
	register func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error)
	lan      func() ([]discovery.Interface, error)
	check    func(netip.AddrPort) error // nil if the address may be dialed

	life context.Context // ends with Close, and with Run
	end  context.CancelFunc
	runs sync.WaitGroup // Run; grows while mu is held and life goes on

	mu     sync.Mutex
	ran    bool               // guarded by mu; Run was called
	peers  table              // guarded by mu; of topicService
	joins  map[string][]*join // guarded by mu; by the text form of the topic
	health health             // guarded by mu
}

// health says whether the network hears the LAN.
type health struct {
	changes int // 0 before that is known
	err     error
}

var _ discovery.Network = (*Network)(nil)

// New returns the network that cfg describes, or every mistake in cfg. It opens no socket and
// starts no goroutine.
func New(cfg Config) (*Network, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	services := []*service{topicService}
	if cfg.Hosts != nil {
		services = append(services, hostService)
	}
	n := &Network{
		cfg:      cfg,
		dialer:   discovery.NewTCPDialer(cfg.Policy, discovery.SourceLAN),
		browser:  newBrowser(services, cfg.AnyHost),
		listen:   listen,
		register: registerWith(cfg.Logger),
		lan:      cfg.Policy.LAN,
		check:    func(a netip.AddrPort) error { return cfg.Policy.Check(discovery.SourceLAN, a) },
		peers:    newTable(),
		joins:    make(map[string][]*join),
	}
	n.life, n.end = context.WithCancel(context.Background())
	return n, nil
}

// Name returns "lan".
func (n *Network) Name() string { return name }

// errRan is what a second Run returns.
var errRan = errors.New("mdns: Run was called before, or the network is closed")

// Run publishes our own host, listens and asks until ctx ends or the network is closed, and then
// returns nil. It reports failures to the joins, and tries again. All joins end with it, so call
// it once, for the life of the network.
func (n *Network) Run(ctx context.Context) error {
	n.mu.Lock()
	if n.ran || n.life.Err() != nil {
		n.mu.Unlock()
		return errRan
	}
	n.ran = true
	n.runs.Add(1)
	n.mu.Unlock()
	defer n.runs.Done()
	defer n.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()

	r := newRounds(n)
	defer r.pub.close()
	retry := backoff.New(retryMin, retryMax)
	for {
		begin := time.Now()
		c, err := n.listen()
		if err == nil {
			err = r.run(ctx, c)
		}
		if ctx.Err() != nil {
			return nil
		}
		n.setHealth(err)
		n.cfg.Observer.NoteLookUp(name, 0, begin, err)
		if time.Since(begin) > retryMax {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry.Next()):
		}
	}
}

// setHealth notes whether the network hears the LAN, and wakes the joins if that is news.
func (n *Network) setHealth(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.health.changes > 0 && fmt.Sprint(err) == fmt.Sprint(n.health.err) {
		return
	}
	if err != nil {
		n.cfg.Logger.Warn("cannot browse the LAN", "error", err)
	} else if n.health.changes > 0 {
		n.cfg.Logger.Info("browsing the LAN again")
	}
	n.health = health{changes: n.health.changes + 1, err: err}
	for _, joins := range n.joins {
		for _, j := range joins {
			j.updates.Wake()
		}
	}
}

// setPeers sets the services that are there, and wakes the joins of their topics.
func (n *Network) setPeers(list map[key]*instance, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for value := range n.peers.replace(list, now) {
		for _, j := range n.joins[value] {
			j.updates.Wake()
		}
	}
}

// Close ends Run, all joins, dials and circuits, and waits for all but the joins, which end when
// their callers pull.
func (n *Network) Close() error {
	n.mu.Lock()
	n.end()
	n.mu.Unlock()
	n.runs.Wait()
	n.dialer.Close()
	return nil
}
