package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// link is a stretch of network between a client and a server, for UDP: so many bits a second, each
// packet so much later, and some of them lost. What does not fit into its queue is dropped, as a
// router does.
type link struct {
	MbitPerSecond float64
	RTT           time.Duration // of an empty link
	Loss          float64       // part of the packets of each direction, 0 to 1
}

func (l link) String() string {
	return fmt.Sprintf("%v, %g Mbit/s, %g %% loss", l.RTT, l.MbitPerSecond, 100*l.Loss)
}

// maxDatagram is more than any packet of the benchmark has.
const maxDatagram = 2048

// serveLink is the role of a link to a server.
func serveLink(to, description string) error {
	var l link
	if err := json.Unmarshal([]byte(description), &l); err != nil {
		return err
	}
	server, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	go l.up(near, server)
	return answerCalls(listening{Addr: near.LocalAddr().String()}, nil)
}

// up carries what clients send, and opens a way back for each of them.
func (l link) up(near *net.UDPConn, server *net.UDPAddr) {
	type client struct {
		far  *net.UDPConn
		pipe *pipe
	}
	clients := map[string]client{}
	buf := make([]byte, maxDatagram)
	up := l.newPipe()
	for {
		n, from, err := near.ReadFromUDP(buf)
		if err != nil {
			return
		}
		c, ok := clients[from.String()]
		if !ok {
			far, err := net.DialUDP("udp", nil, server)
			if err != nil {
				return
			}
			c = client{far, up}
			clients[from.String()] = c
			go func() {
				buf := make([]byte, maxDatagram)
				down := l.newPipe()
				for {
					n, err := far.Read(buf)
					if err != nil {
						return
					}
					down.send(buf[:n], func(b []byte) { near.WriteToUDP(b, from) })
				}
			}()
		}
		c.pipe.send(buf[:n], func(b []byte) { c.far.Write(b) })
	}
}

// pipe is one direction of a link.
type pipe struct {
	link
	mu   sync.Mutex
	free time.Time // when the last packet of the queue has left
	out  chan packet
}

type packet struct {
	data    []byte
	at      time.Time
	deliver func([]byte)
}

func (l link) newPipe() *pipe {
	p := &pipe{link: l, out: make(chan packet, 1<<16)}
	go func() {
		for o := range p.out {
			time.Sleep(time.Until(o.at))
			o.deliver(o.data)
		}
	}()
	return p
}

// send has a packet delivered when its time comes, or drops it.
func (p *pipe) send(b []byte, deliver func([]byte)) {
	if rand.Float64() < p.Loss {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	if p.free.Sub(now) > p.RTT { // the queue has room for what is on the way in a round trip
		return
	}
	p.free = p.free.Add(time.Duration(float64(len(b)*8) / p.MbitPerSecond * float64(time.Microsecond)))
	select {
	case p.out <- packet{append([]byte(nil), b...), p.free.Add(p.RTT / 2), deliver}:
	default:
	}
}

// over puts a link between the client of c and its server.
func (b *bench) over(c *contender, l link) error {
	d, err := json.Marshal(l)
	if err != nil {
		return err
	}
	var at listening
	if c.link, err = startRole(&at, "link", c.way.Addr, string(d)); err != nil {
		return err
	}
	c.way.Addr = at.Addr
	return nil
}
