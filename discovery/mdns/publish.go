package mdns

import (
	"fmt"
	"slices"

	"github.com/grandcat/zeroconf"

	"github.com/swarmgate/swarmgate/discovery"
)

// publisher keeps our own host published on the interfaces that there are. Run owns it.
type publisher struct {
	self     *Self // nil publishes nothing
	register func(self *Self, ifaces []discovery.Interface) (withdraw func(), err error)
	withdraw func() // nil while nothing is published
	on       []int  // indexes of the interfaces on which it is
}

// update publishes on ifaces. Nothing is done while they are the same: a membership of a multicast group lives as long
// as its interface, and each answer carries the addresses that its interface has then.
func (p *publisher) update(ifaces []discovery.Interface) (err error) {
	var on []int
	for _, i := range ifaces {
		on = append(on, i.Index)
	}
	if p.self == nil || p.withdraw != nil && slices.Equal(on, p.on) {
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

// register publishes self by zeroconf.
func register(self *Self, ifaces []discovery.Interface) (withdraw func(), err error) {
	name := self.instance()
	// Without addresses of its own the server takes those of the interface on which it is asked.
	server, err := zeroconf.RegisterProxy(name, hostService.name, domain, self.Port, name, nil,
		[]string{hostService.key + "=" + self.ID}, plain(ifaces))
	if err != nil {
		return nil, fmt.Errorf("mdns: publish: %w", err)
	}
	return server.Shutdown, nil
}
