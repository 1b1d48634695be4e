package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/certs/acme"
	"github.com/swarmgate/swarmgate/internal/hostname"
)

// acmeFolder is where the state directory has the certificates of --acme.
const acmeFolder = "acme"

// checkACME reports the contradictions of the options of --acme.
func (o *options) checkACME() error {
	var errs []error
	if !o.ACME {
		for _, f := range []struct{ flag, value string }{
			{"--acme-http", string(o.ACMEHTTP)},
			{"--acme-ca", o.ACMECA},
			{"--acme-roots", o.ACMERoots},
			{"--acme-email", o.ACMEEmail},
			{"--acme-profile", o.ACMEProfile},
			{"--acme-account", o.ACMEAccount},
			{"--acme-account-key", o.ACMEAccountKey},
			{"--acme-dir", o.ACMEDir},
		} {
			if f.value != "" {
				errs = append(errs, fmt.Errorf("%s needs --acme", f.flag))
			}
		}
		if o.ACMEStaging {
			errs = append(errs, errors.New("--acme-staging needs --acme"))
		}
		return errors.Join(errs...)
	}
	if o.Cert != "" {
		errs = append(errs, errors.New("--acme and --cert each say where the certificate is from: only one can"))
	}
	if o.StateDir == "" && o.ACMEDir == "" {
		errs = append(errs, errors.New("--acme needs --state-dir: an authority gives few certificates for one name"))
	}
	if o.ACMEStaging && o.ACMECA != "" {
		errs = append(errs, errors.New("--acme-staging is an authority already: it goes without --acme-ca"))
	}
	if (o.ACMEAccount == "") != (o.ACMEAccountKey == "") {
		errs = append(errs, errors.New("--acme-account and --acme-account-key need each other"))
	}
	if o.ACMECheck <= 0 {
		errs = append(errs, errors.New("--acme-check: want more than 0s"))
	}
	if len(o.Name) == 0 {
		return errors.Join(append(errs, errors.New("--acme needs a --name"))...)
	}
	return errors.Join(append(errs, o.acmeConfig().Validate())...)
}

// acmeConfig returns what the options say about --acme without its files.
func (o *options) acmeConfig() *acme.Config {
	cfg := &acme.Config{
		Names: o.names(), Dir: o.ACMEDir, Shared: o.ACMEDir != "", Directory: o.ACMECA,
		Email: o.ACMEEmail, Profile: o.ACMEProfile, HTTP: o.ACMEHTTP != "", Check: time.Duration(o.ACMECheck),
	}
	if o.ACMEStaging {
		cfg.Directory = acme.LetsEncryptStaging
	}
	return cfg
}

// openACME makes an authority's certificates the gateway's. The one that it has until then is
// served if there are none.
func (g *gateway) openACME(o *options, dir *certs.StateDir) (err error) {
	cfg := o.acmeConfig()
	cfg.Fallback, cfg.Logger = g.source, g.log
	if o.ACMERoots != "" {
		pem, err := os.ReadFile(o.ACMERoots)
		if err != nil {
			return fmt.Errorf("--acme-roots: %w", err)
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--acme-roots: %s has no certificate in PEM", o.ACMERoots)
		}
	}
	if o.ACMEAccountKey != "" {
		key, err := os.ReadFile(o.ACMEAccountKey)
		if err != nil {
			return fmt.Errorf("--acme-account-key: %w", err)
		}
		cfg.Account = &acme.Account{ID: o.ACMEAccount, Key: strings.TrimSpace(string(key))}
	}
	if cfg.Dir == "" {
		if dir.Path() == "" {
			return nil // that there is no state directory is a mistake already
		}
		if cfg.Dir, err = dir.Folder(acmeFolder); err != nil {
			return err
		}
	}
	if g.peek {
		return cfg.Account.Validate() // checkACME has done the rest
	}
	if g.acme, err = acme.Open(*cfg); err != nil {
		return err
	}
	g.source = g.acme
	g.onClose("certificates", g.acme.Close)
	return nil
}

// proofsAt returns the address at which the gateway proves its names to the authority.
func (g *gateway) proofsAt() net.Addr {
	if g.sockets.acme != nil {
		return g.sockets.acme.Addr()
	}
	return g.sockets.https.Addr()
}

// siteTLS returns the configuration of HTTPS on TCP, over which names may be proved as well.
func (g *gateway) siteTLS() *tls.Config {
	cfg := g.source.TLSConfig()
	if g.acme != nil && g.sockets.acme == nil {
		cfg.NextProtos = append(cfg.NextProtos, acme.Protocol)
	}
	return cfg
}

// https returns the address at which people find a gateway with a name that listens on addr.
func (o *options) https(addr net.Addr) string {
	name := hostname.HostPort(o.Name[0])
	name.Port = cmp.Or(name.Port, ipPort(addr).Port())
	return name.String()
}

// toHTTPS sends requests to HTTPS at address.
func toHTTPS(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+address+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
}

// troubles returns what operators should look at although the gateway takes sessions.
func (g *gateway) troubles() []string {
	if g.acme == nil {
		return nil
	}
	var lines []string
	states, err := g.acme.States()
	if err != nil {
		lines = append(lines, fmt.Sprintf("certificates cannot be saved: %v", err))
	}
	for _, s := range states {
		if s.Err != nil || s.Expires.IsZero() {
			lines = append(lines, s.String())
		}
	}
	return lines
}

// orders returns for how many names the last attempt to get a certificate failed, and how many
// attempts have ended well, and how many have not.
func (g *gateway) orders() (failing, issued, failed int) {
	if g.acme == nil {
		return 0, 0, 0
	}
	states, unsaved := g.acme.States()
	for _, s := range states {
		if s.Err != nil || unsaved != nil {
			failing++
		}
	}
	issued, failed = g.acme.Orders()
	return failing, issued, failed
}
