package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

// name is the name of the network.
const name = "lan"

// retryMin is the shortest delay after a browse that failed; a cycle is the longest.
const retryMin = time.Second

// Network is the [discovery.Network] of the TCP services of a LAN. It also publishes and finds
// libp2p hosts there.
type Network struct {
	cfg    Config // with defaults; constant after New
	dialer *discovery.TCPDialer

	// What the tests replace; constant after New.
	browse   func(ctx context.Context, s *service, ifaces []discovery.Interface, found chan<- record) error
	register func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error)
	lan      func() ([]discovery.Interface, error)

	life context.Context // ends with Close, and with Run
	end  context.CancelFunc
	runs sync.WaitGroup // Run; grows while mu is held and life goes on

	mu     sync.Mutex
	ran    bool               // guarded by mu; Run was called
	peers  table              // guarded by mu; of topicService
	joins  map[string][]*join // guarded by mu; by the text form of the topic
	health health             // guarded by mu

	hosts table // owned by Run; of hostService
}

// health is how the last browse went.
type health struct {
	changes int // 0 before the first browse
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
	n := &Network{
		cfg:      cfg,
		dialer:   discovery.NewTCPDialer(cfg.Policy, discovery.SourceLAN),
		browse:   browse,
		register: register,
		lan:      cfg.Policy.LAN,
		peers:    newTable(cfg.MaxEntries, cfg.Hold),
		hosts:    newTable(cfg.MaxEntries, cfg.Hold),
		joins:    make(map[string][]*join),
	}
	n.life, n.end = context.WithCancel(context.Background())
	return n, nil
}

// Name returns "lan".
func (n *Network) Name() string { return name }

// errRan is what a second Run returns.
var errRan = errors.New("mdns: Run was called before, or the network is closed")

// Run publishes our own host and browses in cycles until ctx ends or the network is closed, and
// then returns nil. What fails is told to the joins and tried again. All joins end with it, so it
// is called once, for the life of the network.
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

	pub := publisher{self: n.cfg.Self, register: n.register}
	defer pub.close()
	retry := backoff.New(min(retryMin, n.cfg.Cycle), n.cfg.Cycle)
	for {
		begin := time.Now()
		found, err := n.cycle(ctx, &pub)
		if ctx.Err() != nil {
			return nil
		}
		n.cfg.Observer.NoteLookUp(name, found, begin, err)
		n.setHealth(err)
		pause := n.cfg.Cycle - time.Since(begin)
		if err != nil {
			pause = retry.Next()
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// cycle publishes where that changed, browses once, and forgets what is not there any more. It
// returns how many answers came.
func (n *Network) cycle(ctx context.Context, pub *publisher) (answers int, _ error) {
	ifaces, err := n.interfaces()
	if err != nil {
		return 0, err
	}
	services := []*service{topicService}
	if n.cfg.Hosts != nil {
		services = append(services, hostService)
	}
	errs := make([]error, len(services), len(services)+1)
	errs = append(errs, pub.update(ifaces))

	ctx, cancel := context.WithTimeout(ctx, n.cfg.Window)
	defer cancel()
	found := make(chan record)
	var wg sync.WaitGroup
	for i, s := range services {
		wg.Go(func() { errs[i] = n.browse(ctx, s, ifaces, found) })
	}
	go func() {
		wg.Wait()
		close(found)
	}()
	for r := range found {
		answers++
		n.see(r, ifaces)
	}
	now := time.Now()
	n.hosts.forget(now)
	n.mu.Lock()
	n.peers.forget(now)
	n.mu.Unlock()
	return answers, errors.Join(errs...)
}

// interfaces returns those to use now.
func (n *Network) interfaces() ([]discovery.Interface, error) {
	all, err := n.lan()
	if err != nil {
		return nil, &wtproto.Error{Code: wtproto.CodeInternal, Reason: "no network interfaces", Err: err}
	}
	chosen := make([]discovery.Interface, 0, len(all))
	for _, i := range all {
		if len(n.cfg.Interfaces) == 0 || slices.Contains(n.cfg.Interfaces, i.Name) {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 { // zeroconf would take them all
		return nil, wtproto.Errorf(wtproto.CodeInternal, "no network interface is on the LAN")
	}
	return chosen, nil
}

// see takes in one answer.
func (n *Network) see(r record, ifaces []discovery.Interface) {
	allowed, refused := r.places(n.cfg.Policy, ifaces)
	now := time.Now()
	if r.of == hostService {
		n.seeHost(r, allowed, refused, now)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	i, before, full := n.peers.merge(r, allowed, refused, now)
	if full {
		n.logFull(r.of)
	}
	if i == nil {
		return
	}
	if before == "" {
		n.cfg.Logger.Debug("service found on the LAN", "instance", i.name, "topic", i.value, "addresses", i.listPorts(), "refused", i.refused)
	}
	n.wakeLocked(before)
	if before != i.value {
		n.wakeLocked(i.value)
	}
}

// seeHost tells of a host that is not our own.
func (n *Network) seeHost(r record, allowed []netip.Addr, refused error, now time.Time) {
	if n.cfg.Self != nil && r.value == n.cfg.Self.ID {
		return
	}
	i, before, full := n.hosts.merge(r, allowed, refused, now)
	if full {
		n.logFull(r.of)
	}
	if i == nil {
		return
	}
	if before == "" {
		n.cfg.Logger.Debug("host found on the LAN", "instance", i.name, "id", i.value, "addresses", i.listPorts(), "refused", i.refused)
	}
	if addrs := i.listPorts(); len(addrs) > 0 {
		n.cfg.Hosts.HostSeen(i.value, addrs)
	}
}

func (n *Network) logFull(s *service) {
	n.cfg.Logger.Warn("the LAN has more services than are remembered", "type", s.name, "limit", n.cfg.MaxEntries)
}

// setHealth notes how a browse went, and tells the joins where that is news.
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
			j.wakeUp()
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
