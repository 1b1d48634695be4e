package mdns

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/wtproto"
)

// fullEvery is how often the log says that there is no room for what the LAN says.
const fullEvery = time.Minute

// rounds is the loop of [Network.Run], which owns it. It reads the interfaces, settles the
// answers, and reports the result.
type rounds struct {
	n   *Network
	pub publisher

	lan     map[int]discovery.Interface // the interfaces of the LAN, by index
	joined  string                      // the last logged error of interfaces that could not be joined
	looked  time.Time                   // when the interfaces were read
	next    time.Time                   // when to settle without being woken; zero for never
	asked   time.Time                   // when it asked for instances; zero if it has counted the answers
	took    time.Duration               // how long the last settling took
	evicted uint64                      // number of evicted records at the last log line
	full    time.Time                   // when that was logged

	hosts hosts
}

func newRounds(n *Network) *rounds {
	return &rounds{n: n, pub: publisher{self: n.cfg.Self, register: n.register}, hosts: newHosts()}
}

// run browses by c until ctx ends, c fails or a goroutine of c ends. Then it closes c.
func (r *rounds) run(ctx context.Context, c conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.Run(ctx, r.n.browser.receive)) })
	defer wg.Wait() // Run of c ends with ctx
	defer cancel(nil)
	defer c.Close()

	r.lan, r.looked, r.next = nil, time.Time{}, time.Time{} // a new socket is on no interface
	for heard := false; ctx.Err() == nil; heard = r.wait(ctx) {
		now := time.Now()
		if now.Sub(r.looked) >= lookEvery {
			r.look(c, now)
		}
		if heard || !r.next.IsZero() && !r.next.After(now) {
			r.settle(c)
		}
		r.notify(time.Now())
	}
	return context.Cause(ctx)
}

// look reads the interfaces.
func (r *rounds) look(c conn, now time.Time) {
	r.looked = now
	ifaces, err := r.n.interfaces()
	lan, list := make(map[int]discovery.Interface), make([]mcast.Interface, 0, len(ifaces))
	for _, i := range ifaces {
		lan[i.Index] = i
		list = append(list, mcast.Interface{Index: i.Index, Subnets: i.Subnets})
	}
	joined, refused := c.SetInterfaces(list)
	if err == nil && joined == 0 {
		err = errors.Join(errNoInterface, refused)
	}
	if said := textOf(refused); said != r.joined {
		r.joined = said
		if refused != nil && joined > 0 {
			r.n.cfg.Logger.Warn("cannot find services on an interface of the LAN", "error", refused)
		}
	}
	r.n.browser.setLinks(lan, r.lan)
	if !maps.EqualFunc(lan, r.lan, func(now, before discovery.Interface) bool { return !anew(now, before) }) {
		r.next = now
	}
	r.lan = lan
	if err == nil {
		err = r.pub.update(ifaces)
	}
	r.n.setHealth(err)
	if err != nil {
		r.n.cfg.Observer.NoteLookUp(name, 0, now, err)
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

var errNoInterface = wtproto.Errorf(wtproto.CodeInternal,
	"no network interface is on the LAN: connect one that has multicast, or correct --lan-interface; containers need the host's network")

// interfaces returns those to use now.
func (n *Network) interfaces() ([]discovery.Interface, error) {
	all, err := n.lan()
	if err != nil {
		return nil, &wtproto.Error{Code: wtproto.CodeInternal, Reason: "the network interfaces cannot be read: see that the gateway may", Err: err}
	}
	chosen := make([]discovery.Interface, 0, len(all))
	for _, i := range all {
		if len(n.cfg.Interfaces) == 0 || slices.Contains(n.cfg.Interfaces, i.Name) {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		return nil, errNoInterface
	}
	return chosen, nil
}

// settle sends the questions that are due, and takes over the known instances.
func (r *rounds) settle(c conn) {
	began := time.Now()
	defer func() { r.took = time.Since(began) }()
	claims, asked, next, evicted, err := r.n.browser.settle(c)
	now := time.Now()
	if r.next = next; asked {
		r.asked = now
	}
	if err != nil {
		r.n.cfg.Logger.Debug("question not sent on the LAN", "error", err)
	}
	if evicted > r.evicted && now.Sub(r.full) >= fullEvery {
		r.evicted, r.full = evicted, now
		r.n.cfg.Logger.Warn("the LAN has more services than there is room for", "records", maxRecords, "of a machine", maxOwn)
	}
	r.n.setPeers(instances(topicService, claims, r.lan, r.n.check), now)
	if r.n.cfg.Hosts != nil {
		r.hosts.replace(instances(hostService, claims, r.lan, r.n.check))
	}
}

// notify reports hosts to Hosts, and answers to the observer.
func (r *rounds) notify(now time.Time) {
	if r.n.cfg.Hosts != nil {
		r.hosts.notify(r.n.cfg.Hosts, now)
	}
	if !r.asked.IsZero() && now.Sub(r.asked) >= countAfter {
		r.n.mu.Lock()
		found := r.n.peers.count()
		r.n.mu.Unlock()
		r.n.cfg.Observer.NoteLookUp(name, found+len(r.hosts.all), r.asked, nil)
		r.asked = time.Time{}
	}
}

// wait returns when there is something to do, and whether a packet came. After a packet it waits a
// moment for packets that belong to it.
func (r *rounds) wait(ctx context.Context) (heard bool) {
	until := earlier(r.looked.Add(lookEvery), r.next)
	until = earlier(until, r.hosts.next)
	if !r.asked.IsZero() {
		until = earlier(until, r.asked.Add(countAfter))
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(time.Until(until), time.Millisecond)):
		return false
	case <-r.n.browser.wake:
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(max(settleAfter, settleRest*r.took), settleMost)):
	}
	return true
}
