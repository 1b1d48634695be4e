package dat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Times of what is known of a server.
const (
	resolveWithin = 5 * time.Second
	resolveEvery  = 10 * time.Minute
	// deadFor is how long a server that did not answer is not asked for its state again.
	deadFor = 5 * time.Second
)

// dnsServer is a server of dns-discovery. Any number of goroutines may use it.
type dnsServer struct {
	name   string // HOST:PORT
	host   string
	port   uint16
	policy *discovery.Policy
	pace   *rate.Limiter // questions about ids
	asking chan struct{} // holds 1 while somebody asks for the state

	mu       sync.Mutex
	known    dnsState  // guarded by mu
	resolved time.Time // guarded by mu; when the address was resolved
	dead     error     // guarded by mu; why it has not answered
	died     time.Time // guarded by mu
}

// dnsState is what a server has last said of itself and us.
type dnsState struct {
	at    netip.AddrPort // of the server; invalid if unknown
	token string         // proves for some minutes that we receive at our address; empty if unknown
	host  netip.Addr     // ours, as the server sees it; invalid if unknown
}

// newDNSServer returns the server called name, HOST:PORT.
func newDNSServer(name string, policy *discovery.Policy) (*dnsServer, error) {
	host, digits, err := net.SplitHostPort(name)
	if err != nil {
		return nil, fmt.Errorf("dat: dns: the server %q: %w", name, err)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || host == "" {
		return nil, fmt.Errorf("dat: dns: the server %q is not HOST:PORT", name)
	}
	return &dnsServer{
		name: name, host: host, port: uint16(port), policy: policy,
		pace: rate.NewLimiter(questionsPerSecond, questionsAtOnce), asking: make(chan struct{}, 1),
	}, nil
}

// last returns what is known of s. It does not wait.
func (s *dnsServer) last() dnsState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// forget notes that s has not answered: its address and token are asked for again.
func (s *dnsServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.token, s.resolved = "", time.Time{}
}

// renew notes the token in an answer to a question with before, and returns the state with it. An
// answer without a token changes nothing.
func (s *dnsServer) renew(before dnsState, token string) dnsState {
	if token == "" || token == before.token {
		return before
	}
	before.token = token
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known.at == before.at {
		s.known.token = token
	}
	return before
}

// state returns the address and the token of s. It asks for them if they are not known; one caller
// asks for all.
func (s *dnsServer) state(ctx context.Context, a *asker) (dnsState, error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return dnsState{}, ctx.Err()
	}
	s.mu.Lock()
	known, resolved, dead, died := s.known, s.resolved, s.dead, s.died
	s.mu.Unlock()
	fresh := !resolved.IsZero() && time.Since(resolved) < resolveEvery
	switch {
	case fresh && known.token != "":
		return known, nil
	case dead != nil && time.Since(died) < deadFor:
		return dnsState{}, dead
	}
	got, err := s.probe(ctx, a, known)
	if ctx.Err() != nil {
		return dnsState{}, ctx.Err() // nothing is known of the server
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead = err; err != nil {
		s.died = time.Now()
		return dnsState{}, err
	}
	s.known, s.resolved = got, time.Now()
	return got, nil
}

// probe resolves the name of s and asks for its state. If it still has the address in known, that
// stays.
func (s *dnsServer) probe(ctx context.Context, a *asker, known dnsState) (dnsState, error) {
	at, err := s.resolve(ctx, known.at)
	if err != nil {
		return dnsState{}, err
	}
	s.mu.Lock() // answers of the new address are welcome, and nobody uses the old token there
	s.known = dnsState{at: at}
	s.mu.Unlock()
	got, err := a.ask(ctx, at, datDomain)
	if err != nil {
		return dnsState{}, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "the server " + s.name + " does not answer", Err: err}
	}
	if got.token == "" {
		return dnsState{}, wtproto.Errorf(wtproto.CodePeerUnreachable, "the server %s gives no token: it may not serve the domain %s", s.name, datDomain)
	}
	return dnsState{at: at, token: got.token, host: got.host}, nil
}

// resolve returns an address of s that may be asked: before, if it still has that.
func (s *dnsServer) resolve(ctx context.Context, before netip.AddrPort) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", s.host)
	if err != nil {
		return netip.AddrPort{}, &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "the server " + s.name + " has no address", Err: err}
	}
	if i := slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap() == before.Addr() }); i > 0 {
		ips[0], ips[i] = ips[i], ips[0]
	}
	for _, ip := range ips {
		at := netip.AddrPortFrom(ip.Unmap(), s.port)
		if err = s.policy.Check(discovery.SourceConfigured, at); err == nil {
			return at, nil
		}
	}
	return netip.AddrPort{}, err
}
