package dat

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// ports are the TCP ports of a range, each for one topic of one network at a time. Those that were
// free for the longest time are taken first, because peers may remember a port for an hour. Any
// number of goroutines may use it.
type ports struct {
	host string
	size int

	mu    sync.Mutex
	free  []uint16      // guarded by mu; the next one first
	freed chan struct{} // guarded by mu; closed by give
}

func newPorts(host string, r PortRange) *ports {
	p := &ports{host: host, size: r.size(), freed: make(chan struct{})}
	for i := range r.size() {
		p.free = append(p.free, r.First+uint16(i))
	}
	return p
}

// take returns a listener on a free port, or why there is none. Ports that other programs have are
// passed over.
func (p *ports) take() (*net.TCPListener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed error
	for range p.free {
		port := p.free[0]
		p.free = p.free[1:]
		ln, err := listenTCP(net.JoinHostPort(p.host, strconv.Itoa(int(port))))
		if err == nil {
			return ln, nil
		}
		p.free = append(p.free, port)
		failed = err
	}
	if failed != nil {
		return nil, &wtproto.Error{Code: wtproto.CodeBusy, Reason: "no port of --dat-ports can be opened: the gateway's log says why", Err: failed}
	}
	return nil, wtproto.Errorf(wtproto.CodeBusy, "all %d ports of --dat-ports are taken by other topics: widen the range", p.size)
}

// give gives the port of a listener back, which is closed.
func (p *ports) give(ln *net.TCPListener) {
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, port)
	close(p.freed)
	p.freed = make(chan struct{})
}

// wait returns a channel that is closed when a port is given back.
func (p *ports) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freed
}

// listenTCP listens, with the keepalive of connections that we dial.
func listenTCP(addr string) (*net.TCPListener, error) {
	cfg := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3,
	}}
	ln, err := cfg.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

// door is a listener whose connections are sorted.
type door struct {
	ln    *net.TCPListener
	owner *join // whose port it is; nil for the shared port
	done  chan struct{}
}

// open has the connections of ln sorted until close, for owner, or by what they begin with if owner
// is nil.
func (h *Host) open(ln *net.TCPListener, owner *join) *door {
	d := &door{ln: ln, owner: owner, done: make(chan struct{})}
	h.routines.Go(func() {
		defer close(d.done)
		h.accept(d)
	})
	return d
}

// close closes the listener and waits until nobody accepts from it.
func (d *door) close() {
	d.ln.Close()
	<-d.done
}

// port returns the TCP port.
func (d *door) port() uint16 { return uint16(d.ln.Addr().(*net.TCPAddr).Port) }

// accept starts a visit for each connection of d until the listener is closed.
func (h *Host) accept(d *door) {
	for {
		conn, err := d.ln.AcceptTCP()
		switch {
		case err == nil:
			h.visit(conn, d)
		case errors.Is(err, net.ErrClosed):
			return
		default: // there are too many open files
			h.log.Warn("cannot accept connections of old peers", "error", err)
			select {
			case <-h.life.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}
