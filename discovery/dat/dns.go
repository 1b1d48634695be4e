package dat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Times of dns-discovery. Servers forget what they were not told again for a while, 60 s unless
// they are set up otherwise.
const (
	refreshEvery  = 60 * time.Second
	refreshJitter = 6 // up to so much of it more: 1/6
	// questionsPerSecond and questionsAtOnce bound what one server is asked.
	questionsPerSecond = 50
	questionsAtOnce    = 200
	// pushesPerSecond and pushesAtOnce bound what servers say, or whoever speaks in their name,
	// without being asked. A server repeats what it gets no receipt for.
	pushesPerSecond = 100
	pushesAtOnce    = 400
)

// dnsConfig sets up a [dnsWay].
type dnsConfig struct {
	// Servers are servers of dns-discovery, each as HOST:PORT. Required.
	Servers []string
	// Listen is the UDP address, IPv4, to ask from. Zero means any.
	Listen netip.AddrPort
	// Policy must allow the addresses of servers, as the operator's.
	Policy   *discovery.Policy
	Logger   *slog.Logger        // nil is silent
	Observer *discovery.Observer // may be nil
}

// dnsWay finds peers by dns-discovery: servers are told which ids we announce, and who else does
// they tell when they are asked, and by themselves to those who subscribed.
type dnsWay struct {
	cfg     dnsConfig
	asker   *asker
	servers []*dnsServer // constant
	refresh time.Duration
	follows *follows
	reader  sync.WaitGroup
	pushes  *rate.Limiter

	mu        sync.Mutex
	following byID[*dnsFollow] // guarded by mu
}

// dnsFollow is one call of follow.
type dnsFollow struct {
	way      *dnsWay
	id       id
	name     string // of the id
	presence *discovery.Presence
	port     uint16
	finder   *finder

	mu     sync.Mutex
	errs   []error // guarded by mu; the last of each server
	known  []bool  // guarded by mu; the server has been asked
	report func(error)
}

// newDNS returns a [way], and opens its socket.
func newDNS(cfg dnsConfig) (*dnsWay, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Servers) == 0 {
		return nil, errors.New("dat: dns: no server")
	}
	w := &dnsWay{
		cfg: cfg, refresh: refreshEvery, follows: newFollows(), following: make(byID[*dnsFollow]),
		pushes: rate.NewLimiter(pushesPerSecond, pushesAtOnce),
	}
	var errs []error
	for _, s := range cfg.Servers {
		server, err := newDNSServer(s, cfg.Policy)
		errs = append(errs, err)
		w.servers = append(w.servers, server)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(listenOn(cfg.Listen)))
	if err != nil {
		return nil, fmt.Errorf("dat: dns: %w", err)
	}
	w.asker = newAsker(conn)
	w.reader.Go(func() { w.asker.run(w.isServer, w.told) })
	return w, nil
}

// listenOn returns the address to listen on.
func listenOn(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return a
}

func (w *dnsWay) name() string { return "dns" }

func (w *dnsWay) close() {
	w.follows.close()
	w.asker.conn.Close()
	w.reader.Wait()
}

// follow is described at [way]. Each server has a goroutine, so that one that is dead does not
// delay the others.
func (w *dnsWay) follow(ctx context.Context, i id, presence *discovery.Presence, port uint16, found func(address), report func(error)) {
	ctx, leave, ok := w.follows.enter(ctx)
	if !ok {
		return
	}
	defer leave()
	f := &dnsFollow{
		way: w, id: i, name: nameOf(i, datDomain), presence: presence, port: port, finder: newFinder(found),
		errs: make([]error, len(w.servers)), known: make([]bool, len(w.servers)), report: report,
	}
	w.mu.Lock()
	w.following.add(i, f)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.following.remove(i, f)
	}()
	var wg sync.WaitGroup
	for n, s := range w.servers {
		wg.Go(func() { f.run(ctx, n, s) })
	}
	wg.Wait()
}

// run tells and asks one server, the n-th, until ctx ends.
func (f *dnsFollow) run(ctx context.Context, n int, s *dnsServer) {
	wait := newBackoff()
	told, announced := false, false // the server may have a subscription of ours, an announcement
	for ctx.Err() == nil {
		state, _ := f.presence.State()
		w := wishOf(state, f.port)
		if w == (wish{}) {
			if told {
				f.withdraw(s)
				told, announced = false, false
			}
			if !awaitOther(ctx, f.presence, f.port, w, -1) {
				return
			}
			continue
		}
		if announced && !w.announce {
			f.withdraw(s)
		}
		began := time.Now()
		told, announced = true, w.announce
		peers, err := f.ask(ctx, s, w)
		if ctx.Err() != nil {
			break
		}
		f.settled(n, err)
		f.way.observe(w, began, len(peers), err)
		next := jitter(f.way.refresh, f.way.refresh/refreshJitter)
		if err != nil {
			f.way.cfg.Logger.Debug("dns-discovery failed", "server", s.name, "error", err)
			next = wait.Next()
		} else {
			wait.Reset()
			if w.lookUp {
				f.finder.report(peers, discovery.SourcePublic, "")
			}
		}
		if !awaitOther(ctx, f.presence, f.port, w, next) {
			break
		}
	}
	if told {
		f.withdraw(s)
	}
}

// observe tells the observer of a question.
func (w *dnsWay) observe(asked wish, began time.Time, found int, err error) {
	if asked.lookUp {
		w.cfg.Observer.NoteLookUp(w.name(), found, began, err)
	}
	if asked.announce {
		w.cfg.Observer.NoteAnnouncement(w.name(), began, err)
	}
}

// ask tells s of the wish and returns the peers that it knows. A server takes only what comes with
// a token that it gave, so if it gives another one in its answer, it is told once more.
func (f *dnsFollow) ask(ctx context.Context, s *dnsServer, w wish) ([]netip.AddrPort, error) {
	known, err := s.state(ctx, f.way.asker)
	if err != nil {
		return nil, err
	}
	fields := []string{"subscribe=true"}
	if w.announce {
		fields = append(fields, portField("announce", f.port))
	}
	for range 2 {
		if err := s.pace.Wait(ctx); err != nil {
			return nil, err
		}
		got, err := f.way.asker.ask(ctx, known.at, f.name, append([]string{"token=" + known.token}, fields...)...)
		if err != nil {
			if ctx.Err() == nil {
				s.forget()
			}
			return nil, err
		}
		fresh := s.renew(known, got.token)
		if fresh.token == known.token {
			f.way.mu.Lock()
			defer f.way.mu.Unlock()
			return f.way.othersLocked(f.id, got.peers, known.host), nil
		}
		known = fresh
	}
	return nil, wtproto.Errorf(wtproto.CodeInternal, "the server %s takes no announcement: it gives a new token each time", s.name)
}

// othersLocked returns peers of an id without ourselves, who are at host for the server.
func (w *dnsWay) othersLocked(i id, peers []netip.AddrPort, host netip.Addr) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(peers), func(p netip.AddrPort) bool {
		return p.Addr() == host && slices.ContainsFunc(w.following[i], func(f *dnsFollow) bool { return f.port == p.Port() })
	})
}

// withdraw takes back what s was told, in a time that is bounded.
func (f *dnsFollow) withdraw(s *dnsServer) {
	known := s.last()
	if known.token == "" {
		return // it does not answer, or has taken nothing from us
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawWithin)
	defer cancel()
	fields := []string{"token=" + known.token} // without subscribe: no more pushes
	if f.port != 0 {
		fields = append(fields, portField("unannounce", f.port))
	}
	for range 2 { // once more with a new token
		got, err := f.way.asker.ask(ctx, known.at, f.name, fields...)
		if err != nil {
			f.way.cfg.Logger.Debug("announcement not withdrawn", "server", s.name, "error", err)
			return
		}
		fresh := s.renew(known, got.token)
		if fresh.token == known.token {
			return
		}
		known, fields[0] = fresh, "token="+fresh.token
	}
}

// settled notes the result of the n-th server, and reports what holds for all of them.
func (f *dnsFollow) settled(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[n], f.known[n] = err, true
	works, all := false, true
	for i, err := range f.errs {
		works = works || f.known[i] && err == nil
		all = all && f.known[i]
	}
	if works {
		f.report(nil)
	} else if all {
		f.report(fmt.Errorf("dat: dns: %w", errors.Join(f.errs...)))
	}
}

// told takes in a message of a server that is not an answer: it tells of a new peer. Nobody asked
// for it, so all that speaks for it is that it comes from the address of a server.
func (w *dnsWay) told(from netip.AddrPort, m message) {
	if m.response || !w.pushes.Allow() {
		return
	}
	for _, s := range m.said {
		i, _, ok := idIn(s.name, datDomain)
		if !ok {
			continue
		}
		host := w.hostAt(from)
		w.mu.Lock() // nobody is told after its follow has returned
		for _, f := range w.following[i] {
			if state, _ := f.presence.State(); state.LookUp {
				f.finder.report(w.othersLocked(i, s.peers, host), discovery.SourcePublic, "")
			}
		}
		w.mu.Unlock()
	}
	if b, err := receipt(m.id); err == nil { // or the server says it again
		_, _ = w.asker.conn.WriteToUDPAddrPort(b, from)
	}
}

// isServer reports whether one of the servers is at a.
func (w *dnsWay) isServer(a netip.AddrPort) bool {
	return slices.ContainsFunc(w.servers, func(s *dnsServer) bool { return s.last().at == a })
}

// hostAt returns where the server at a sees us, if it has said so.
func (w *dnsWay) hostAt(a netip.AddrPort) netip.Addr {
	for _, s := range w.servers {
		if last := s.last(); last.at == a {
			return last.host
		}
	}
	return netip.Addr{}
}
