package dat

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// resendAfter is how long a question waits for its answer before it is sent again, and at last
// before it has failed.
var resendAfter = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

var (
	errNoAnswer = errors.New("no answer")
	errBusy     = errors.New("too many open questions")
)

// asker asks questions of DNS on a socket. It believes an answer only if it comes from the address
// that was asked and repeats the number and the question. Any number of goroutines may use it.
type asker struct {
	conn *net.UDPConn // the owner closes it

	mu   sync.Mutex
	open map[inquiry]*pending // guarded by mu
}

// inquiry identifies an open question.
type inquiry struct {
	at     netip.AddrPort
	number uint16
}

// pending is a question that waits for its answer.
type pending struct {
	name   string
	answer chan message // holds 1
}

func newAsker(conn *net.UDPConn) *asker {
	return &asker{conn: conn, open: make(map[inquiry]*pending)}
}

// run receives until the socket is closed. It reads only messages from addresses that are known.
// It passes what is not an answer to told, which must not block.
func (a *asker) run(known func(netip.AddrPort) bool, told func(netip.AddrPort, message)) {
	b := make([]byte, maxMessage+1)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // a passing error of the system
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !known(from) {
			continue
		}
		m, err := readMessage(b[:n])
		if err != nil {
			continue
		}
		if !m.response {
			told(from, m)
			continue
		}
		a.mu.Lock()
		p := a.open[inquiry{from, m.id}]
		a.mu.Unlock()
		if p != nil && slices.Equal(m.questions, []string{p.name}) {
			select {
			case p.answer <- m:
			default: // it has one
			}
		}
	}
}

// ask asks at about a name, with fields that it tells, and returns what the answer says about the
// name.
func (a *asker) ask(ctx context.Context, at netip.AddrPort, name string, fields ...string) (said, error) {
	p := &pending{name: name, answer: make(chan message, 1)}
	key, ok := a.begin(at, p)
	if !ok {
		return said{}, errBusy
	}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, key)
	}()
	b, err := question(key.number, []string{name}, fields...)
	if err != nil {
		return said{}, err
	}
	for _, wait := range resendAfter {
		if _, err := a.conn.WriteToUDPAddrPort(b, at); errors.Is(err, net.ErrClosed) {
			return said{}, err
		} // all others may pass
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			continue
		case m := <-p.answer:
			timer.Stop()
			return about(m, name), nil
		case <-ctx.Done():
			timer.Stop()
			return said{}, ctx.Err()
		}
	}
	return said{}, errNoAnswer
}

// begin enters p under a number that nobody can guess.
func (a *asker) begin(at netip.AddrPort, p *pending) (inquiry, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range 64 {
		key := inquiry{at, uint16(1 + rand.IntN(1<<16-1))} // old servers take 0 for multicast
		if a.open[key] == nil {
			a.open[key] = p
			return key, true
		}
	}
	return inquiry{}, false
}

// about returns all that m says about a name.
func about(m message, name string) (all said) {
	all.name = name
	for _, s := range m.said {
		if s.name != name {
			continue
		}
		if s.token != "" {
			all.token = s.token
		}
		if s.host.IsValid() {
			all.host = s.host
		}
		all.peers = append(all.peers, s.peers...)
	}
	return all
}
