package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// Directories of authorities.
const (
	LetsEncrypt        = certmagic.LetsEncryptProductionCA
	LetsEncryptStaging = certmagic.LetsEncryptStagingCA // whose certificates nobody trusts
)

// Protocol is what the authority asks for in TLS to have a name proved.
const Protocol = acmez.ACMETLS1Protocol

// shortLived is the only profile of Let's Encrypt with IP addresses.
const shortLived = "shortlived"

// issuing is the library: it orders, keeps and renews certificates.
type issuing struct {
	storage    *storage
	cache      *certmagic.Cache // its goroutine renews
	names, ips *certmagic.Config
	issuers    []*certmagic.ACMEIssuer // of both
	source     *Source                 // hears of the ends of attempts
}

// newIssuing starts the goroutine of the cache, which has nothing to do until load or obtain.
func newIssuing(cfg Config, source *Source) *issuing {
	i := &issuing{storage: newStorage(cfg.Dir, cfg.Shared, source.saved), source: source}
	log := zap.New(details{log: source.log})
	i.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(cert certmagic.Certificate) (*certmagic.Config, error) {
			return i.config(cert.Names[0]), nil
		},
		RenewCheckInterval: cfg.Check,
		Logger:             log,
	})
	template := certmagic.ACMEIssuer{
		CA: cfg.Directory, Email: cfg.Email, Agreed: true, Profile: cfg.Profile, TrustedRoots: cfg.Roots,
		DisableHTTPChallenge: !cfg.HTTP, DisableTLSALPNChallenge: cfg.HTTP, Logger: log,
	}
	if a := cfg.Account; a != nil {
		template.ExternalAccount = &acme.EAB{KeyID: a.ID, MACKey: a.unpadded()}
	}
	i.names = i.configure(template, log)
	if letsEncrypts(cfg.Directory) && cfg.Profile == "" {
		template.Profile = shortLived
	}
	i.ips = i.configure(template, log)
	return i
}

// configure returns a configuration with an issuer like template.
func (i *issuing) configure(template certmagic.ACMEIssuer, log *zap.Logger) *certmagic.Config {
	cfg := certmagic.New(i.cache, certmagic.Config{
		Storage: i.storage, Logger: log, OnEvent: i.event,
		OCSP: certmagic.OCSPConfig{DisableStapling: true}, // it would ask the network at the start
	})
	issuer := certmagic.NewACMEIssuer(cfg, template)
	cfg.Issuers = []certmagic.Issuer{issuer}
	i.issuers = append(i.issuers, issuer)
	return cfg
}

// config returns the configuration of the certificate for name.
func (i *issuing) config(name string) *certmagic.Config {
	if certmagic.SubjectIsIP(name) {
		return i.ips
	}
	return i.names
}

// listensAt tells on which address the caller listens for proofs. The library would listen there
// by itself if nobody did.
func (i *issuing) listensAt(at net.Addr) {
	a, ok := at.(*net.TCPAddr)
	if !ok {
		return
	}
	for _, issuer := range i.issuers {
		if !a.IP.IsUnspecified() {
			issuer.ListenHost = a.IP.String()
		}
		issuer.AltHTTPPort, issuer.AltTLSALPNPort = a.Port, a.Port
	}
}

// event hears what the library does.
func (i *issuing) event(ctx context.Context, event string, data map[string]any) error {
	if ctx.Err() != nil { // it ends
		return nil
	}
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_failed":
		err, _ := data["error"].(error)
		i.source.refused(name, err)
	case "cert_obtained":
		path, _ := data["certificate_path"].(string)
		i.source.obtained(name, i.expires(ctx, path))
	}
	return nil
}

// expires returns when the certificate in a file of the directory expires; zero if it is unknown.
func (i *issuing) expires(ctx context.Context, path string) time.Time {
	data, err := i.storage.Load(ctx, path)
	if err != nil {
		return time.Time{}
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}

// load takes the certificate for name from the directory, if it is there.
func (i *issuing) load(ctx context.Context, name string) error {
	_, err := i.config(name).CacheManagedCertificate(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// obtain returns after there is a certificate for name, which is renewed from then on. It orders
// one unless there is one in the directory, and does not give up as long as only the authority
// refuses.
func (i *issuing) obtain(ctx context.Context, name string) error {
	cfg := i.config(name)
	cert, err := cfg.CacheManagedCertificate(ctx, name)
	if err == nil {
		if cert.NeedsRenewal(cfg) {
			return i.cache.RenewManagedCertificates(ctx) // now, and not after the interval
		}
		return nil
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) { // it is damaged
		key := certmagic.StorageKeys.CertsSitePrefix(cfg.Issuers[0].IssuerKey(), name)
		if err := i.storage.Delete(ctx, key); err != nil {
			return err
		}
	}
	if err := cfg.ObtainCertAsync(ctx, name); err != nil {
		return err
	}
	_, err = cfg.CacheManagedCertificate(ctx, name)
	return err
}

// current returns the newest certificate for name that has not expired; nil if there is none.
func (i *issuing) current(name string) *tls.Certificate {
	if name == "" {
		return nil
	}
	var newest *tls.Certificate
	for _, cert := range i.cache.AllMatchingCertificates(name) {
		if cert.Leaf != nil && time.Now().Before(cert.Leaf.NotAfter) {
			newest = newer(newest, &cert.Certificate)
		}
	}
	return newest
}

// proof returns the certificate that proves a name to the authority.
func (i *issuing) proof(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" || hello.Conn == nil {
		return nil, fmt.Errorf("acme: nothing to prove")
	}
	return i.names.GetCertificate(hello)
}

// handler answers the authority's questions over HTTP.
func (i *issuing) handler(next http.Handler) http.Handler {
	return i.issuers[0].HTTPChallengeHandler(next)
}

// close ends the renewals, and waits until ctx ends for the requests of the library that go on.
func (i *issuing) close(ctx context.Context) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		i.cache.Stop() // waits for a request that nothing cuts off: whether to renew early
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
	i.storage.close(ctx)
}

// isPublic reports whether a public authority may certify name.
func isPublic(name string) bool { return certmagic.SubjectQualifiesForPublicCert(name) }
