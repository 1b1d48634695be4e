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

// publisher keeps our own host published on the interfaces that there are. Run owns it.
type publisher struct {
	self     *Self // nil publishes nothing
	register func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error)
	withdraw func()  // nil while nothing is published
	on       []place // where it is
}

// place is an interface with its addresses.
type place struct {
	index int
	addrs string
}

// update publishes on ifaces. Nothing is done while they and their addresses are the same; else
// the LAN is told anew.
func (p *publisher) update(ifaces []discovery.Interface) (err error) {
	if p.self == nil {
		return nil
	}
	var on []place
	for _, i := range ifaces {
		addrs, _ := i.Addrs() // as they are answered
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

// close takes the host back.
func (p *publisher) close() {
	if p.withdraw != nil {
		p.withdraw()
		p.withdraw = nil
	}
}

// registering is held while zeroconf opens its sockets.
var registering sync.Mutex

// registerWith returns a function that publishes by zeroconf, which tells l what zeroconf prints.
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

// printed takes what is printed by the log package while zeroconf opens its sockets: that a family
// does not work, which its error would not tell as long as the other one does.
type printed struct {
	l      *slog.Logger
	others io.Writer // of all that others print meanwhile
}

func (p printed) Write(b []byte) (int, error) {
	_, line, ours := bytes.Cut(b, []byte("[zeroconf] "))
	if !ours {
		return p.others.Write(b)
	}
	p.l.Debug("host not published on the LAN by one family", "error", string(bytes.TrimSpace(line)))
	return len(b), nil
}

// plain returns ifaces as net knows them.
func plain(ifaces []discovery.Interface) []net.Interface {
	out := make([]net.Interface, len(ifaces))
	for i, f := range ifaces {
		out[i] = f.Interface
	}
	return out
}
