package dat

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/discovery/fair"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Times of the mainline DHT. Old peers walk again after 10 to 15 min; so do we, after the first few
// times.
const (
	walkWithin  = 30 * time.Second
	walkAgain   = 30 * time.Second // after the first walk; then twice as long, and so on
	walkEvery   = 10 * time.Minute // at most; always up to half of the wait more
	nobodyAfter = 5 * time.Second  // so long it is no fault that no node is known
)

// maxWalks is how many ids are walked for at once.
const maxWalks = 8

// mainlineConfig sets up a [mainline].
type mainlineConfig struct {
	// Listen is the UDP address, IPv4, of our node. Zero means any.
	Listen netip.AddrPort
	// Own are the TCP ports that we announce.
	Own ownPorts
	// Bootstrap are nodes to begin with, each as HOST:PORT. Nil means the well-known public ones,
	// an empty list none: then nobody is asked before somebody has asked us.
	Bootstrap []string
	Policy    *discovery.Policy   // decides about every address that is sent to
	Logger    *slog.Logger        // nil is silent
	Observer  *discovery.Observer // may be nil
}

// errNobody is reported while our node knows no other.
var errNobody = wtproto.Errorf(wtproto.CodePeerUnreachable,
	"no node of the mainline DHT is known: see that the gateway may send UDP, or name one with --dat-bootstrap")

// dhtNode is our node of the mainline DHT.
type dhtNode interface {
	// walk looks for the nodes nearest to an id, passes the peers that they tell of to found, and
	// if port is not 0 announces it to them. It returns when ctx ends at the latest. The error says
	// that nobody has answered, or that nobody took the announcement.
	walk(ctx context.Context, i id, port uint16, found func([]netip.AddrPort)) error
	// tend keeps the node in touch with others until ctx ends, and calls known when it knows some,
	// or none any more.
	tend(ctx context.Context, known func(bool))
	close()
}

// mainline finds peers on the mainline DHT of BitTorrent, which BEP 5 describes. Nothing that was
// announced there can be withdrawn: nodes forget it within an hour.
type mainline struct {
	observer *discovery.Observer
	logger   *slog.Logger
	node     dhtNode
	follows  *follows
	tending  sync.WaitGroup
	walks    *walks

	mu    sync.Mutex
	known chan struct{} // guarded by mu; closed while the node knows others
}

// newMainline returns a [way], opens its socket, and begins to make acquaintances.
func newMainline(cfg mainlineConfig) (*mainline, error) {
	node, err := newLibraryNode(cfg)
	if err != nil {
		return nil, err
	}
	return newMainlineWith(cfg, node), nil
}

// newMainlineWith is newMainline with a node, which it closes.
func newMainlineWith(cfg mainlineConfig, node dhtNode) *mainline {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &mainline{
		observer: cfg.Observer, logger: cfg.Logger, node: node, follows: newFollows(),
		walks: newWalks(cfg.Observer), known: make(chan struct{}),
	}
	w.tending.Go(func() { w.node.tend(w.follows.life, w.setKnown) })
	return w
}

func (w *mainline) name() string { return "mainline" }

func (w *mainline) close() {
	w.follows.close()
	w.tending.Wait()
	w.node.close()
}

// setKnown notes whether the node knows others.
func (w *mainline) setKnown(known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.known:
		if !known {
			w.known = make(chan struct{})
		}
	default:
		if known {
			close(w.known)
		}
	}
}

// acquainted returns a channel that is closed as soon as the node knows others.
func (w *mainline) acquainted() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known
}

// awaitKnown waits until the node knows others, and reports if that takes long. It returns false if
// ctx has ended.
func (w *mainline) awaitKnown(ctx context.Context, report func(error)) bool {
	known := w.acquainted()
	timer := time.NewTimer(nobodyAfter)
	defer timer.Stop()
	for {
		select {
		case <-known:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		case <-timer.C:
			report(errNobody)
		}
	}
}

// follow is described at [way].
func (w *mainline) follow(ctx context.Context, i id, presence *discovery.Presence, port uint16, found func(address), report func(error)) {
	ctx, leave, ok := w.follows.enter(ctx)
	if !ok {
		return
	}
	defer leave()
	finder, failed := newFinder(found), newBackoff()
	for rounds := 0; ctx.Err() == nil; {
		state, _ := presence.State()
		now := wishOf(state, port)
		if now == (wish{}) {
			if !awaitOther(ctx, presence, port, now, -1) {
				return
			}
			rounds = 0
			continue
		}
		if !w.awaitKnown(ctx, report) {
			return
		}
		done := w.walks.await(ctx, now, fair.RankOf(rounds), state.For)
		if done == nil {
			return
		}
		err := w.walk(ctx, i, now, port, finder)
		done()
		if ctx.Err() != nil {
			return
		}
		report(err)
		wait := min(walkAgain<<min(rounds, 10), walkEvery)
		wait = jitter(wait, wait/2)
		if rounds++; err != nil {
			w.logger.Debug("walk on the mainline DHT failed", "error", err)
			wait = failed.Next()
		} else {
			failed.Reset()
		}
		if !awaitOther(ctx, presence, port, now, wait) {
			return
		}
	}
}

// walk walks once.
func (w *mainline) walk(ctx context.Context, i id, now wish, port uint16, finder *finder) error {
	ctx, cancel := context.WithTimeout(ctx, walkWithin)
	defer cancel()
	if !now.announce {
		port = 0
	}
	var mu sync.Mutex
	began, n := time.Now(), 0
	err := w.node.walk(ctx, i, port, func(peers []netip.AddrPort) {
		peers = peers[:min(len(peers), maxPeers)]
		mu.Lock()
		n += len(peers)
		mu.Unlock()
		if now.lookUp {
			finder.report(peers, discovery.SourcePublic, "")
		}
	})
	if errors.Is(err, context.Canceled) {
		return err
	}
	if now.lookUp {
		w.observer.NoteLookUp(w.name(), n, began, err)
	}
	if now.announce {
		w.observer.NoteAnnouncement(w.name(), began, err)
	}
	return err
}

// walks decides whose walk is next. Any number of goroutines may use it.
type walks struct {
	observer *discovery.Observer

	mu      sync.Mutex
	queue   *fair.Queue[*waiting] // guarded by mu
	running int                   // guarded by mu
}

// waiting is a walk that waits for its turn.
type waiting struct {
	came  chan struct{} // closed when it may begin
	work  string
	since time.Time
}

func newWalks(o *discovery.Observer) *walks {
	return &walks{observer: o, queue: fair.New[*waiting]()}
}

// await waits for a turn for payers. It returns a function that ends the turn, or nil if ctx ends
// before.
func (w *walks) await(ctx context.Context, now wish, r fair.Rank, payers []discovery.Payer) (done func()) {
	t := &waiting{came: make(chan struct{}), work: "lookup", since: time.Now()}
	if now.announce {
		t.work = "announcement"
	}
	w.mu.Lock()
	entry := w.queue.Push(t, r, payers)
	w.startLocked()
	w.mu.Unlock()
	done = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running--
		w.queue.Done(entry)
		w.startLocked()
	}
	select {
	case <-t.came:
		return done
	case <-ctx.Done():
	}
	w.mu.Lock()
	select {
	case <-t.came: // at the same moment
		w.mu.Unlock()
		done()
	default:
		w.queue.Drop(entry)
		w.mu.Unlock()
	}
	return nil
}

// startLocked begins the walks that there is room for. A quarter of the room is for payers that
// have no walk.
func (w *walks) startLocked() {
	for w.running < maxWalks {
		e := w.queue.Pop(w.running >= maxWalks-maxWalks/4)
		if e == nil {
			return
		}
		w.running++
		w.observer.NoteTurn("mainline", e.What.work, time.Since(e.What.since))
		close(e.What.came)
	}
}
