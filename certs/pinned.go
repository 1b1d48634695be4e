package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

const (
	// validity is that of a certificate, with the backdating. Browsers take hashes of certificates
	// of at most 14 days.
	validity = 13 * 24 * time.Hour
	// backdate is how far behind the clock of a client may be.
	backdate = time.Hour
	// reserve is how far ahead: a certificate that ends sooner is not served.
	reserve = 12 * time.Hour
	// period is how long a certificate is the next one, known but not served, and how long it is
	// then the current one.
	period = 6 * 24 * time.Hour
	// saveAgain is the wait before another attempt to save, and tellAgain that before the log hears
	// of it again.
	saveAgain = time.Minute
	tellAgain = time.Hour
)

// pinnedName is the state file: the current certificate and its key, the next one and its key; and
// the same of a pair that was made since, for as long as it may be the clock that is wrong.
const pinnedName = "pinned.pem"

// PinnedConfig sets up a [Pinned]. The zero value is for a gateway on this machine.
type PinnedConfig struct {
	// Names are the DNS names and IP addresses in the certificates, though a client that knows the
	// hash need not look at them. Empty means localhost, 127.0.0.1 and ::1.
	Names []string
	// Logger hears of new certificates. Nil is silent.
	Logger *slog.Logger
}

// Pinned is a [Source] of self-signed certificates that clients trust by their hash. There are
// always two, the current one and the next. Every 6 days the next becomes the current one and
// another is made, so whoever has learned both hashes finds one of them for 6 days at least. Each
// is valid for 13 days, which browsers allow.
//
// If the clock is wrong for a moment, clients get other certificates meanwhile, and those that
// they know again when it is right: see succession.
type Pinned struct {
	// constant
	dir   *StateDir
	names names
	log   *slog.Logger
	start time.Time // with the monotonic clock

	mu      sync.Mutex
	certs   succession // guarded by mu
	serve   pair       // guarded by mu; the last answer of certs
	unsaved bool       // guarded by mu; the state file has older ones
	tried   time.Time  // guarded by mu; when they were last to be saved
	told    time.Time  // guarded by mu; when the log last heard that this fails
}

// NewPinned returns a Source with the certificates in dir, where the gateway has been before, or
// with new ones, which it keeps there. A changed list of names is for certificates that are made
// from then on. A state file that is damaged is an error, and so is one that is not there and
// cannot be made.
func NewPinned(dir *StateDir, cfg PinnedConfig) (*Pinned, error) {
	p, err := newPinned(dir, cfg)
	if err != nil {
		return nil, fmt.Errorf("certs: pinned: %w", err)
	}
	return p, nil
}

func newPinned(dir *StateDir, cfg PinnedConfig) (*Pinned, error) {
	names, err := parseNames(cfg.Names)
	if err != nil {
		return nil, err
	}
	p := &Pinned{dir: dir, names: names, log: cfg.Logger, start: time.Now()}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	data, err := dir.Read(pinnedName)
	first := errors.Is(err, fs.ErrNotExist)
	switch {
	case first:
	case err != nil:
		return nil, err
	default:
		if p.certs.kept, p.certs.made, err = parsePairs(data); err != nil {
			return nil, fmt.Errorf("state file %q: %w; delete it to get new certificates", pinnedName, err)
		}
	}
	if err := p.turnLocked(p.start); err != nil {
		return nil, err
	}
	if err := p.saveLocked(p.start); err != nil && first {
		return nil, err
	}
	return p, nil
}

// TLSConfig returns a new configuration for servers.
func (p *Pinned) TLSConfig() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		current, _ := p.pair()
		return current, nil
	})
}

// Hashes returns those of the current and the next certificate.
func (p *Pinned) Hashes() [][32]byte {
	current, next := p.pair()
	return [][32]byte{sha256.Sum256(current.Leaf.Raw), sha256.Sum256(next.Leaf.Raw)}
}

// pair returns the certificates as they have to be now.
func (p *Pinned) pair() (current, next *tls.Certificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err := p.turnLocked(now); err != nil {
		p.log.Error("cannot make a certificate, keeping the old one", "error", err)
	}
	_ = p.saveLocked(now) // which logs its error
	return p.serve.current, p.serve.next
}

// turnLocked asks what to serve now.
func (p *Pinned) turnLocked(now time.Time) error {
	serve, changed, err := p.certs.at(now, now.Sub(p.start), func() (*tls.Certificate, error) { return p.makeLocked(now) })
	if err != nil {
		return err
	}
	if changed {
		p.unsaved, p.tried, p.told = true, time.Time{}, time.Time{}
	}
	if kept := p.certs.kept; serve != p.serve && serve != kept && kept.early(now) {
		p.log.Warn("the certificates that clients know are not valid yet, serving others until the clock is right",
			"clock", now, "valid_from", kept.next.Leaf.NotBefore)
	}
	p.serve = serve
	return nil
}

func (p *Pinned) makeLocked(now time.Time) (*tls.Certificate, error) {
	cert, err := makeCertificate(p.names, now)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(cert.Leaf.Raw)
	p.log.Info("new certificate", "sha256", hex.EncodeToString(hash[:]), "expires", cert.Leaf.NotAfter)
	return cert, nil
}

// saveLocked saves the certificates, unless that is done or was tried less than a minute ago. It
// logs the error once an hour. Until that works a restarted gateway is one certificate behind, and
// still has one that its clients know.
func (p *Pinned) saveLocked(now time.Time) error {
	if !p.unsaved || now.Sub(p.tried) < saveAgain {
		return nil
	}
	p.tried = now
	data, err := marshalPairs(p.certs.pairs()...)
	if err == nil {
		err = p.dir.Write(pinnedName, data)
	}
	if err != nil {
		if now.Sub(p.told) >= tellAgain {
			p.told = now
			p.log.Error("cannot save certificates", "error", err)
		}
		return err
	}
	p.unsaved = false
	return nil
}
