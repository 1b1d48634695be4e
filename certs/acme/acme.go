package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/internal/oneline"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// retryMin and retryMax bound the wait after the library has given up, for example because the
	// disk is full. As long as only the authority refuses, the library tries again by itself, first
	// after a minute, and later every six hours.
	retryMin = time.Minute
	retryMax = 6 * time.Hour
	// closeWithin is how long [Source.Close] waits for requests that the library does not cut off.
	closeWithin = 3 * time.Second
)

// Source is a [certs.Source] of certificates that an authority gives by ACME.
type Source struct {
	// constant
	names    []string
	fallback certs.Source
	log      *slog.Logger
	issuing  *issuing

	stop    context.CancelFunc // ends what Start has started; nil before
	running sync.WaitGroup

	mu             sync.Mutex
	last           map[string]attempt // guarded by mu; the last attempt by name, if it failed
	issued, failed int                // guarded by mu; orders
	unsaved        error              // guarded by mu; why the directory cannot be written, or nil
}

// attempt is an attempt to get a certificate for a name that has failed.
type attempt struct {
	err     error
	when    time.Time
	expires time.Time // when the certificate does that there was; zero without
}

var _ certs.Source = (*Source)(nil)

// Open returns a Source of the certificates that are in the directory already. It asks nobody: see
// [Source.Start].
func Open(cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" || cfg.Fallback == nil {
		return nil, errors.New("acme: want Dir and Fallback")
	}
	cfg = cfg.withDefaults()
	s := &Source{
		names: cfg.wanted(), fallback: cfg.Fallback, log: cfg.Logger.With("authority", cfg.Directory),
		last: make(map[string]attempt),
	}
	for _, name := range cfg.Names {
		if !slices.Contains(s.names, name) {
			s.log.Warn("a name that is not public gets no certificate", "name", name)
		}
	}
	s.issuing = newIssuing(cfg, s)
	for _, name := range s.names {
		if err := s.issuing.load(context.Background(), name); err != nil {
			s.log.Warn("the stored certificate cannot be used", "name", name, "error", err)
		}
	}
	return s, nil
}

// Start begins to get and to renew certificates, until [Source.Close]. at is the address on which
// the caller listens for the authority's proof: with TLS and [Source.TLSConfig] if
// [Config.HTTP] is false, else with [Source.HTTPHandler]. Start does not wait for the authority.
func (s *Source) Start(at net.Addr) {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.issuing.listensAt(at)
	for _, name := range s.names {
		s.running.Go(func() { s.keep(ctx, name) })
	}
}

// Close ends it. The certificates are served until nobody uses them. It must be called once.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	s.issuing.close(ctx)
	return nil
}

// keep tries to get a certificate for name until there is one. Then the library renews it.
func (s *Source) keep(ctx context.Context, name string) {
	retry := backoff.New(retryMin, retryMax)
	for {
		err := s.issuing.obtain(ctx, name)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.refused(name, err)
		select {
		case <-time.After(retry.Next()):
		case <-ctx.Done():
			return
		}
	}
}

// refused takes the failure of an attempt to get a certificate for name.
func (s *Source) refused(name string, err error) {
	a := attempt{err: err, when: time.Now()}
	if cert := s.issuing.current(name); cert != nil {
		a.expires = cert.Leaf.NotAfter
		s.log.Error("no new certificate, keeping the old one", "name", name, "expires", a.expires, "error", err)
	} else {
		s.log.Error("no certificate yet, the pinned one is served", "name", name, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[name] = a
	s.failed++
}

// obtained takes the success of an attempt.
func (s *Source) obtained(name string, expires time.Time) {
	s.log.Info("new certificate", "name", name, "expires", expires)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, name)
	s.issued++
}

// saved takes the result of an attempt to write into the directory.
func (s *Source) saved(err error) {
	s.mu.Lock()
	isNew := err != nil && s.unsaved == nil
	s.unsaved = err
	s.mu.Unlock()
	if isNew {
		s.log.Error("cannot save certificates", "error", err)
	}
}

// TLSConfig returns a new configuration for servers. To prove names over TLS, the listener on TCP
// adds [Protocol] to its NextProtos.
func (s *Source) TLSConfig() *tls.Config {
	cfg := s.fallback.TLSConfig()
	fallback := cfg.GetCertificate
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if slices.Equal(hello.SupportedProtos, []string{Protocol}) {
			return s.issuing.proof(hello)
		}
		local, remote := ends(hello.Conn)
		if cert := s.issuing.current(choose(s.names, hello.ServerName, local, remote)); cert != nil {
			return cert, nil
		}
		return fallback(hello)
	}
	return cfg
}

// HTTPHandler answers the authority's questions for proofs over HTTP, and leaves other requests to
// next.
func (s *Source) HTTPHandler(next http.Handler) http.Handler { return s.issuing.handler(next) }

// Kind returns [wtproto.CertificateCA] as soon as one of the names has a certificate.
func (s *Source) Kind() string {
	if s.first() != nil {
		return wtproto.CertificateCA
	}
	return s.fallback.Kind()
}

// Hashes returns those of the pinned certificates as long as none of the names has one of the
// authority.
func (s *Source) Hashes() [][32]byte {
	if s.first() != nil {
		return nil
	}
	return s.fallback.Hashes()
}

// Leaf returns the one of the authority's certificates that expires first, or the pinned one if
// there is none.
func (s *Source) Leaf() *x509.Certificate {
	if first := s.first(); first != nil {
		return first.Leaf
	}
	return s.fallback.Leaf()
}

// first returns the certificate that expires first, or nil if there is none.
func (s *Source) first() *tls.Certificate {
	var first *tls.Certificate
	for _, name := range s.names {
		if cert := s.issuing.current(name); cert != nil && (first == nil || cert.Leaf.NotAfter.Before(first.Leaf.NotAfter)) {
			first = cert
		}
	}
	return first
}

// State is what a [Source] has for a name.
type State struct {
	Name    string
	Expires time.Time // when its certificate does; zero if it has none
	Err     error     // why the last attempt to get one failed; nil if it did not
	Failed  time.Time // when that was
}

// States returns what there is for each name, and why nothing can be saved, if so.
func (s *Source) States() ([]State, error) {
	states := make([]State, len(s.names))
	for i, name := range s.names {
		states[i].Name = name
		if cert := s.issuing.current(name); cert != nil {
			states[i].Expires = cert.Leaf.NotAfter
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range states {
		a := s.last[states[i].Name]
		if a.err != nil && !states[i].Expires.After(a.expires) { // else another gateway got a newer one
			states[i].Err, states[i].Failed = a.err, a.when
		}
	}
	return states, s.unsaved
}

// Orders returns how many attempts to get a certificate have ended well, and how many have not.
func (s *Source) Orders() (issued, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued, s.failed
}

// String tells people about the state, in one line.
func (t State) String() string {
	served := "none, the pinned one is served"
	if !t.Expires.IsZero() {
		served = "expires " + t.Expires.UTC().Format(time.RFC3339)
	}
	if t.Err == nil {
		return fmt.Sprintf("certificate for %s: %s", t.Name, served)
	}
	return fmt.Sprintf("certificate for %s: %s; the last attempt to get a new one failed at %s: %s",
		t.Name, served, t.Failed.UTC().Format(time.RFC3339), oneline.Text(t.Err))
}

// newer returns the one of two certificates that expires later; either may be nil.
func newer(a, b *tls.Certificate) *tls.Certificate {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	if a.Leaf.NotAfter.Before(b.Leaf.NotAfter) {
		return b
	}
	return a
}
