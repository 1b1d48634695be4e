package mdns

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/grandcat/zeroconf"

	"github.com/swarmgate/swarmgate/discovery"
)

// publisher keeps our own host published on the present interfaces. Run owns it.
type publisher struct {
	self     *Self // nil publishes nothing
	register func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error)
	withdraw func()  // nil if nothing is published
	on       []place // where it is
}

// place is an interface with its addresses.
type place struct {
	index int
	addrs string
}

// update publishes on ifaces. If they and their addresses have not changed, it does nothing.
func (p *publisher) update(ifaces []discovery.Interface) (err error) {
	if p.self == nil {
		return nil
	}
	var on []place
	for _, i := range ifaces {
		addrs, _ := i.Addrs() // as the answers will have them
		on = append(on, place{i.Index, fmt.Sprint(addrs)})
	}
	if p.withdraw != nil && slices.Equal(on, p.on) {
		return nil
	}
	p.close()
	p.on = on
	p.withdraw, err = p.register(p.self, ifaces)
	return err
}

// close withdraws the host.
func (p *publisher) close() {
	if p.withdraw != nil {
		p.withdraw()
		p.withdraw = nil
	}
}

// registering is held while zeroconf opens its sockets.
var registering sync.Mutex

// registerWith returns a function that publishes by zeroconf, and logs to l what zeroconf prints.
func registerWith(l *slog.Logger) func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error) {
	return func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error) {
		registering.Lock()
		defer registering.Unlock()
		before := log.Writer()
		log.SetOutput(printed{l: l, others: before})
		defer log.SetOutput(before)
		name := self.instance()
		// Without addresses of its own the server takes those of the interface on which it is
		// asked.
		server, err := zeroconf.RegisterProxy(name, hostService.name, domain, self.Port, name, nil,
			[]string{hostService.key + "=" + self.ID}, plain(ifaces))
		if err != nil {
			return nil, noSocket(fmt.Errorf("mdns: publish: %w", err))
		}
		return server.Shutdown, nil
	}
}

// printed takes the output of the log package while zeroconf opens its sockets. Zeroconf prints
// there that a family does not work, and returns no error if the other family works.
type printed struct {
	l      *slog.Logger
	others io.Writer // for what others print meanwhile
}

func (p printed) Write(b []byte) (int, error) {
	_, line, ours := bytes.Cut(b, []byte("[zeroconf] "))
	if !ours {
		return p.others.Write(b)
	}
	p.l.Debug("host not published on the LAN by one family", "error", string(bytes.TrimSpace(line)))
	return len(b), nil
}

// plain returns ifaces as types of package net.
func plain(ifaces []discovery.Interface) []net.Interface {
	out := make([]net.Interface, len(ifaces))
	for i, f := range ifaces {
		out[i] = f.Interface
	}
	return out
}
