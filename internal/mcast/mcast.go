package mcast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Defaults of a [Config], and the hop limit that no packet from beyond a router can have.
const (
	defaultMaxPacket = 9000
	fullHopLimit     = 255
)

// Config sets up a [Conn]. A zero field means its documented default.
type Config struct {
	// Group4 and Group6 are the multicast addresses of the two families. A zero address turns the
	// family off.
	Group4, Group6 netip.Addr
	// Port is the port to listen on, and to send from and to. Required.
	Port uint16
	// MaxPacket is the longest packet that Run passes on, in bytes. Zero means 9,000.
	MaxPacket int
}

// Family is a version of IP.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of ip.
func FamilyOf(ip netip.Addr) Family {
	if ip.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Interface is a network interface of the LAN. A family is spoken on it if one of Subnets is of
// that family.
type Interface struct {
	Index   int
	Subnets []netip.Prefix // unmapped, without zone
}

// Packet is a received packet. Data is valid until the handler of Run returns.
type Packet struct {
	Data        []byte
	Source      netip.AddrPort // unmapped, without zone
	Destination netip.Addr     // unmapped, without zone
	Interface   int            // index of the interface that it came in on
	HopLimit    int            // on arrival
}

// Conn is one socket a family. Any number of goroutines may use it.
type Conn struct {
	max  int
	port uint16
	all  []*socket // one or two; constant after Listen

	mu  sync.Mutex
	lan map[int]Interface // guarded by mu; a new map whenever it changes
}

// Listen opens the sockets. They share their port with other programs. One family is enough; the
// error is that of both.
func Listen(cfg Config) (*Conn, error) {
	if cfg.Port == 0 {
		return nil, errors.New("mcast: config: no port")
	}
	c := &Conn{max: cfg.MaxPacket, port: cfg.Port}
	if c.max == 0 {
		c.max = defaultMaxPacket
	}
	var errs []error
	for family, group := range map[Family]netip.Addr{IPv4: cfg.Group4, IPv6: cfg.Group6} {
		if !group.IsValid() {
			continue
		}
		if !group.IsMulticast() || FamilyOf(group) != family {
			c.Close()
			return nil, fmt.Errorf("mcast: config: %s is not an IPv%d group", group, family)
		}
		s, err := listen(family, group, cfg.Port)
		if err != nil {
			errs = append(errs, fmt.Errorf("mcast: IPv%d: %w", family, err))
			continue
		}
		c.all = append(c.all, s)
	}
	if len(c.all) == 0 {
		return nil, errors.Join(append(errs, errors.New("mcast: no family"))...)
	}
	return c, nil
}

// SetInterfaces sets the interfaces of the LAN. Run drops packets of others. It leaves unchanged
// interfaces as they are, unless joining them failed before. It returns on how many interfaces at
// least one family is joined, and the errors of others.
func (c *Conn) SetInterfaces(list []Interface) (joined int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lan := make(map[int]Interface, len(list))
	var errs []error
	for _, i := range list {
		i.Subnets = slices.Clone(i.Subnets)
		lan[i.Index] = i
		before, known := c.lan[i.Index]
		changed := !known || !slices.Equal(before.Subnets, i.Subnets)
		works := false
		var failed error
		for _, s := range c.all {
			if !i.speaks(s.family) {
				s.leave(i.Index)
				continue
			}
			if err := s.join(i.Index, changed); err != nil {
				failed = err
				continue
			}
			works = true
		}
		if works {
			joined++
		} else if failed != nil {
			errs = append(errs, fmt.Errorf("mcast: interface %d: %w", i.Index, failed))
		}
	}
	for index := range c.lan {
		if _, still := lan[index]; !still {
			for _, s := range c.all {
				s.leave(index)
			}
		}
	}
	c.lan = lan
	return joined, errors.Join(errs...)
}

// speaks reports whether i has an address of family.
func (i Interface) speaks(family Family) bool {
	return slices.ContainsFunc(i.Subnets, func(s netip.Prefix) bool { return FamilyOf(s.Addr()) == family })
}

// Run passes packets to handle until ctx ends, and then closes c and returns nil, or until a
// socket fails. handle is called by one goroutine a family. It should not block, because packets
// that do not fit into the socket's buffer are lost.
func (c *Conn) Run(ctx context.Context, handle func(Packet)) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	errs := make([]error, len(c.all))
	var wg sync.WaitGroup
	for i, s := range c.all {
		wg.Go(func() {
			defer c.Close() // the other family ends too
			errs[i] = s.receive(c.max, func(p Packet) {
				if c.believes(s, p) {
					handle(p)
				}
			})
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

// believes reports whether p, which came to s, is from the link.
func (c *Conn) believes(s *socket, p Packet) bool {
	c.mu.Lock()
	lan := c.lan
	c.mu.Unlock()
	i, ok := lan[p.Interface]
	switch {
	case !ok || !p.Source.IsValid():
		return false
	case p.Destination == s.group:
		return true
	case p.Destination.IsMulticast() || p.HopLimit != fullHopLimit:
		return false
	}
	return slices.ContainsFunc(i.Subnets, func(s netip.Prefix) bool { return s.Contains(p.Source.Addr()) })
}

// errFamily is the error of a family that is not spoken.
var errFamily = errors.New("mcast: the family is not in use")

// Send sends b to the group of family out of the interface with index.
func (c *Conn) Send(index int, family Family, b []byte) error {
	for _, s := range c.all {
		if s.family == family {
			return s.send(index, c.port, b)
		}
	}
	return errFamily
}

// Close closes the sockets. It may be called more than once.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.all {
		if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// socket is the socket of one family.
type socket struct {
	family Family
	group  netip.Addr
	conn   net.PacketConn
	p4     *ipv4.PacketConn // nil for IPv6
	p6     *ipv6.PacketConn // nil for IPv4

	joined map[int]bool // guarded by Conn.mu; by index
}

// listen opens the socket of family. It is bound to no address: none of the IPv6 groups that live
// on a link could be bound for several interfaces.
func listen(family Family, group netip.Addr, port uint16) (*socket, error) {
	config := net.ListenConfig{Control: share}
	network := "udp" + strconv.Itoa(int(family))
	conn, err := config.ListenPacket(context.Background(), network, net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	s := &socket{family: family, group: group, conn: conn, joined: make(map[int]bool)}
	if err := s.setUp(); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// setUp sets the options for packets to send, and which details the kernel reports of received
// ones.
func (s *socket) setUp() error {
	if s.family == IPv4 {
		s.p4 = ipv4.NewPacketConn(s.conn)
		return errors.Join(
			s.p4.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface|ipv4.FlagTTL, true),
			s.p4.SetMulticastTTL(fullHopLimit),
			s.p4.SetMulticastLoopback(true)) // to programs of this machine
	}
	s.p6 = ipv6.NewPacketConn(s.conn)
	return errors.Join(
		s.p6.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface|ipv6.FlagHopLimit, true),
		s.p6.SetMulticastHopLimit(fullHopLimit),
		s.p6.SetMulticastLoopback(true))
}

// join joins the group on the interface with index, once more if changed: if an interface was
// taken down and set up anew, the kernel has left the group there, although the socket still has
// it.
func (s *socket) join(index int, changed bool) error {
	if s.joined[index] && !changed {
		return nil
	}
	s.leave(index)
	group, on := &net.UDPAddr{IP: s.group.AsSlice()}, &net.Interface{Index: index}
	var err error
	if s.p4 != nil {
		err = s.p4.JoinGroup(on, group)
	} else {
		err = s.p6.JoinGroup(on, group)
	}
	s.joined[index] = err == nil
	return err
}

// leave leaves the group on the interface with index, which may not exist any more.
func (s *socket) leave(index int) {
	if !s.joined[index] {
		return
	}
	delete(s.joined, index)
	group, on := &net.UDPAddr{IP: s.group.AsSlice()}, &net.Interface{Index: index}
	if s.p4 != nil {
		_ = s.p4.LeaveGroup(on, group)
	} else {
		_ = s.p6.LeaveGroup(on, group)
	}
}

// send sends b to the group out of the interface with index.
func (s *socket) send(index int, port uint16, b []byte) (err error) {
	to := &net.UDPAddr{IP: s.group.AsSlice(), Port: int(port)}
	if s.p4 != nil {
		_, err = s.p4.WriteTo(b, &ipv4.ControlMessage{IfIndex: index}, to)
	} else {
		_, err = s.p6.WriteTo(b, &ipv6.ControlMessage{IfIndex: index}, to)
	}
	if err != nil {
		return fmt.Errorf("mcast: send: %w", err)
	}
	return nil
}

// batch is how many packets one system call reads at most.
const batch = 16

// receive passes packets of at most limit bytes to handle until the socket is closed or fails.
func (s *socket) receive(limit int, handle func(Packet)) error {
	messages := make([]ipv4.Message, batch) // the same type for both families
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, limit+1)}
		messages[i].OOB = make([]byte, 128)
	}
	read := s.readBatch()
	for {
		n, err := read(messages, 0)
		if err != nil {
			return fmt.Errorf("mcast: receive: %w", err)
		}
		for _, m := range messages[:n] {
			if p, ok := s.packet(m); ok && len(p.Data) <= limit {
				handle(p)
			}
		}
	}
}

func (s *socket) readBatch() func([]ipv4.Message, int) (int, error) {
	if s.p4 != nil {
		return s.p4.ReadBatch
	}
	return s.p6.ReadBatch
}

// packet returns m with the details that the kernel reports.
func (s *socket) packet(m ipv4.Message) (Packet, bool) {
	from, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return Packet{}, false
	}
	src := from.AddrPort()
	p := Packet{
		Data:   m.Buffers[0][:m.N],
		Source: netip.AddrPortFrom(src.Addr().Unmap().WithZone(""), src.Port()),
	}
	var dst net.IP
	if s.p4 != nil {
		var cm ipv4.ControlMessage
		if cm.Parse(m.OOB[:m.NN]) != nil {
			return Packet{}, false
		}
		dst, p.Interface, p.HopLimit = cm.Dst, cm.IfIndex, cm.TTL
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(m.OOB[:m.NN]) != nil {
			return Packet{}, false
		}
		dst, p.Interface, p.HopLimit = cm.Dst, cm.IfIndex, cm.HopLimit
	}
	ip, ok := netip.AddrFromSlice(dst)
	p.Destination = ip.Unmap()
	return p, ok
}
