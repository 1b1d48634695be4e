package dat

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Where the multicast form is spoken, and its bounds.
const (
	multicastPort = 5353
	lookEvery     = 2 * time.Second // how often to read the interfaces
	listenFirst   = time.Second     // the wait after the socket could not be opened, at first and at most
	listenMost    = time.Minute
	// heardPerSecond and heardAtOnce bound the packets that are read, a quarter of which one machine
	// may send, and sentPerSecond and sentAtOnce those that are sent. What is not sent is sent the
	// next time.
	heardPerSecond, heardAtOnce = 1000, 2000
	maxLoud                     = 256
	sentPerSecond, sentAtOnce   = 200, 400
)

var multicastGroup = netip.AddrFrom4([4]byte{224, 0, 0, 251})

// multicastConfig sets up a [multicast].
type multicastConfig struct {
	// Policy says which interfaces are the LAN. Required.
	Policy *discovery.Policy
	Logger *slog.Logger // nil is silent
}

// multicast finds peers on the LAN, by the multicast form of dns-discovery: questions about ids and
// answers to them by multicast, on the group and the port of multicast DNS, with which it shares no
// more than the format.
//
// An address counts only if it is in a subnet of the interface that it was heard on. Nothing is
// withdrawn: who was announced is found only as long as it answers.
type multicast struct {
	cfg     multicastConfig
	token   string // in all that we send, so that we know it when we hear it
	follows *follows
	running sync.WaitGroup
	heard   *rate.Limiter
	sent    *rate.Limiter

	mu        sync.Mutex
	following byID[*multicastFollow]       // guarded by mu
	lan       map[int]discovery.Interface  // guarded by mu; by index, those with IPv4
	conn      *mcast.Conn                  // guarded by mu; nil if there is none
	err       error                        // guarded by mu; why nothing can be sent
	loud      map[netip.Addr]*rate.Limiter // guarded by mu; what machines may say, at most maxLoud
}

var errNoInterface = wtproto.Errorf(wtproto.CodeInternal,
	"no network interface with IPv4 is on the LAN: connect one that has multicast, or correct --lan-interface; containers need the host's network")

// newMulticast returns a [way]. It opens its socket by itself, again and again until that works.
func newMulticast(cfg multicastConfig) (*multicast, error) {
	if cfg.Policy == nil {
		return nil, errors.New("dat: multicast: no policy")
	}
	w := newSilentMulticast(cfg)
	w.running.Go(func() { w.run(w.follows.life) })
	return w, nil
}

// newSilentMulticast returns a multicast that opens no socket.
func newSilentMulticast(cfg multicastConfig) *multicast {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &multicast{
		cfg: cfg, token: rand.Text(), follows: newFollows(), following: make(byID[*multicastFollow]), err: errNoInterface,
		loud:  make(map[netip.Addr]*rate.Limiter),
		heard: rate.NewLimiter(heardPerSecond, heardAtOnce), sent: rate.NewLimiter(sentPerSecond, sentAtOnce),
	}
}

func (w *multicast) name() string { return "multicast" }

func (w *multicast) close() {
	w.follows.close()
	w.running.Wait()
}

// run has a socket until ctx ends.
func (w *multicast) run(ctx context.Context) {
	failed := backoff.New(listenFirst, listenMost)
	for ctx.Err() == nil {
		c, err := mcast.Listen(mcast.Config{Group4: multicastGroup, Port: multicastPort, MaxPacket: maxMessage})
		if err == nil {
			failed.Reset()
			err = w.serve(ctx, c)
		}
		w.set(nil, nil, err)
		select {
		case <-ctx.Done():
		case <-time.After(failed.Next()):
		}
	}
}

// serve receives by c until ctx ends or c fails. It closes c.
func (w *multicast) serve(ctx context.Context, c *mcast.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.Run(ctx, w.receive)) })
	defer wg.Wait()
	defer cancel(nil)
	for ctx.Err() == nil {
		w.look(c)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	return context.Cause(ctx)
}

// look reads the interfaces of the LAN.
func (w *multicast) look(c *mcast.Conn) {
	all, err := w.cfg.Policy.LAN()
	lan := make(map[int]discovery.Interface)
	var list []mcast.Interface
	for _, i := range all {
		if slices.ContainsFunc(i.Subnets, func(s netip.Prefix) bool { return s.Addr().Is4() }) {
			lan[i.Index] = i
			list = append(list, mcast.Interface{Index: i.Index, Subnets: i.Subnets})
		}
	}
	joined, refused := c.SetInterfaces(list)
	switch {
	case err != nil:
	case len(list) == 0:
		err = errNoInterface
	case joined == 0:
		err = errors.Join(errNoInterface, refused)
	}
	w.set(c, lan, err)
}

// set notes what can be sent on, and has all follows ask if an interface may be on another LAN than
// before.
func (w *multicast) set(c *mcast.Conn, lan map[int]discovery.Interface, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := func(now, before discovery.Interface) bool {
		return slices.Equal(now.Subnets, before.Subnets) && now.Flags&net.FlagRunning&^before.Flags == 0
	}
	changed := w.conn != c || !maps.EqualFunc(lan, w.lan, same) || (err == nil) != (w.err == nil)
	w.conn, w.lan, w.err = c, lan, err
	if !changed {
		return
	}
	for _, all := range w.following {
		for _, f := range all {
			f.again()
		}
	}
}

// receive takes in one packet.
func (w *multicast) receive(p mcast.Packet) {
	if !w.mayHear(p.Source.Addr()) {
		return
	}
	m, err := readMessage(p.Data)
	if err != nil || slices.ContainsFunc(m.said, func(s said) bool { return s.token == w.token }) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	on, ok := w.lan[p.Interface]
	if !ok {
		return
	}
	if !m.response {
		for _, name := range m.questions {
			if i, domain, ok := idIn(name, datDomain, plainDomain); ok {
				for _, f := range w.following[i] {
					f.askedFor(p.Interface, domain)
				}
			}
		}
	}
	for _, s := range m.said {
		i, _, ok := idIn(s.name, datDomain, plainDomain)
		if !ok || len(w.following[i]) == 0 {
			continue
		}
		peers := onLink(s.peers, p.Source.Addr(), on)
		for _, f := range w.following[i] {
			if state, _ := f.presence.State(); state.LookUp {
				f.finder.report(slices.Clone(peers), discovery.SourceLAN, on.Name)
			}
		}
	}
}

// mayHear reports whether one more packet of a machine is read.
func (w *multicast) mayHear(from netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loud[from]
	if l == nil {
		if len(w.loud) >= maxLoud {
			clear(w.loud) // addresses can be made up
		}
		l = rate.NewLimiter(heardPerSecond/4, heardAtOnce/4)
		w.loud[from] = l
	}
	return l.Allow() && w.heard.Allow()
}

// onLink returns the peers that are in a subnet of an interface. 0.0.0.0 stands for the sender.
func onLink(peers []netip.AddrPort, sender netip.Addr, on discovery.Interface) (out []netip.AddrPort) {
	for _, p := range peers {
		if p.Addr().IsUnspecified() {
			p = netip.AddrPortFrom(sender, p.Port())
		}
		if p.Addr().Is4() && slices.ContainsFunc(on.Subnets, func(s netip.Prefix) bool { return s.Contains(p.Addr()) }) {
			out = append(out, p)
		}
	}
	return out
}

// send sends b on the interfaces that are chosen, on all of the LAN if on is nil. One that works is
// enough.
func (w *multicast) send(b []byte, on map[int]string) error {
	w.mu.Lock()
	conn, err := w.conn, w.err
	lan := slices.Collect(maps.Keys(w.lan))
	w.mu.Unlock()
	if err != nil || conn == nil {
		return cmp.Or(err, error(errNoInterface))
	}
	var errs []error
	sent := false
	for _, index := range lan {
		if _, chosen := on[index]; (on == nil || chosen) && w.sent.Allow() {
			err := conn.Send(index, mcast.IPv4, b)
			errs = append(errs, err)
			sent = sent || err == nil
		}
	}
	if sent {
		return nil
	}
	return errors.Join(errs...)
}
