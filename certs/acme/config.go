package acme

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/certs"
)

// DefaultCheck is how often a [Source] looks whether a certificate is to be renewed.
const DefaultCheck = 10 * time.Minute

// Config sets up a [Source]. A zero field means its documented default.
type Config struct {
	// Names are the DNS names and IP addresses that want certificates, each one of its own.
	// Required. Of Let's Encrypt only public ones can have any, so others are left out there.
	Names []string
	// Dir is the directory for accounts, certificates and keys. Required.
	Dir string
	// Shared says that other gateways use Dir too. Then one of them asks for a certificate, and all
	// have it and answer for each other when the authority asks for the proof.
	Shared bool
	// Directory is the URL of the authority's ACME directory. Empty means [LetsEncrypt].
	Directory string
	// Roots are whom to trust as the authority's HTTPS server. Nil means the system's.
	Roots *x509.CertPool
	// Email is how the authority reaches the operator. Empty means not at all.
	Email string
	// Profile is a kind of certificate that the authority offers. Empty means its default one, and
	// of Let's Encrypt for IP addresses the only one that has them, "shortlived".
	Profile string
	// Account is an account that one has with the authority otherwise (External Account Binding).
	// Nil means none.
	Account *Account
	// HTTP says that names are proved over plain HTTP and not over TLS.
	HTTP bool
	// Check is how often to look whether a certificate is to be renewed, which it is when a third
	// of its life is left, or when the authority says so. Zero means [DefaultCheck].
	Check time.Duration
	// Fallback serves the names that have no certificate. Required.
	Fallback certs.Source
	// Logger hears of orders and certificates. Nil is silent.
	Logger *slog.Logger
}

// Account is an account that one has with an authority otherwise than by ACME.
type Account struct {
	ID  string
	Key string // base64 of a URL, with padding or without
}

// unpadded returns the key as the library wants it.
func (a *Account) unpadded() string { return strings.TrimRight(a.Key, "=") }

// Validate reports all mistakes together. Dir and Fallback may still be missing.
func (c *Config) Validate() error {
	var errs []error
	if len(c.wanted()) == 0 {
		errs = append(errs, errors.New("acme: no name that the authority could certify: "+
			"want a public DNS name or IP address, or another authority"))
	}
	for _, name := range c.Names {
		if ip, err := netip.ParseAddr(name); err == nil && (ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "") {
			errs = append(errs, fmt.Errorf("acme: %s: nobody can have a certificate for such an address", name))
		}
	}
	if u, err := url.Parse(c.Directory); err != nil || c.Directory != "" && (u.Scheme != "https" || u.Host == "") {
		errs = append(errs, fmt.Errorf("acme: authority %q: want the https:// URL of its ACME directory", c.Directory))
	}
	return errors.Join(append(errs, c.Account.Validate())...)
}

// Validate reports what is wrong with the account. Nil, which is none, is right.
func (a *Account) Validate() error {
	if a == nil {
		return nil
	}
	if key, err := base64.RawURLEncoding.DecodeString(a.unpadded()); err != nil || len(key) == 0 || a.ID == "" {
		return errors.New("acme: external account: want an id, and a key in base64 of URLs")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Directory == "" {
		c.Directory = LetsEncrypt
	}
	if c.Check == 0 {
		c.Check = DefaultCheck
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// wanted returns the names that the authority may certify.
func (c *Config) wanted() []string {
	if c.Directory != "" && !letsEncrypts(c.Directory) {
		return c.Names
	}
	var names []string
	for _, name := range c.Names {
		if isPublic(name) {
			names = append(names, name)
		}
	}
	return names
}

// letsEncrypts reports whether directory is one of Let's Encrypt.
func letsEncrypts(directory string) bool {
	u, err := url.Parse(directory)
	return err == nil && strings.HasSuffix(u.Hostname(), ".api.letsencrypt.org")
}
