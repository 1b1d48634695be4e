package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/certs/acme"
)

func TestMistakesInACME(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string // parts of the error; none if there is no mistake
	}{
		{"--acme --name a.example --state-dir d", nil},
		{"--acme --name 192.0.2.1 --state-dir d --acme-staging --acme-http :80 --acme-email a@a.example --acme-profile tlsserver", nil},
		{"--acme --name localhost --acme-dir d --acme-ca https://ca.local/dir --acme-roots r --acme-account i --acme-account-key k", nil},
		{
			"--acme-http :80 --acme-ca u --acme-roots f --acme-email a --acme-profile p --acme-account i --acme-account-key f --acme-dir d --acme-staging",
			[]string{
				"--acme-http needs --acme", "--acme-ca needs", "--acme-roots needs", "--acme-email needs", "--acme-profile needs", "--acme-account needs",
				"--acme-account-key needs", "--acme-dir needs", "--acme-staging needs",
			},
		},
		{
			"--acme --cert c --key k --acme-staging --acme-ca https://ca.local/dir --acme-account i --acme-check 0s",
			[]string{
				"--acme and --cert", "--acme needs --state-dir", "--acme-staging is an authority", "--acme-account and --acme-account-key need",
				"--acme-check: want", "--acme needs a --name",
			},
		},
		{"--acme --name localhost --name 10.0.0.1 --state-dir d", []string{"no name that the authority could certify"}},
		{"--acme --name a.example --state-dir d --acme-ca http://ca.local/dir", []string{"https://"}},
		{"--acme --name a.example --state-dir d --demo", []string{"--demo has a certificate of its own"}},
	} {
		_, err := parse(strings.Fields(c.args), io.Discard)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no mistake says %q in\n%v", c.args, want, err)
			}
		}
	}
}

func TestStagingIsLetsEncrypts(t *testing.T) {
	o := parsed(t, "--acme", "--acme-staging", "--name", "a.example", "--state-dir", "d")
	if got := o.acmeConfig().Directory; got != acme.LetsEncryptStaging {
		t.Errorf("it asks %s", got)
	}
}

// What the files of --acme lack is said at the start, before the authority is asked.
func TestFilesOfACME(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flags, want string }{
		{"--acme-roots " + filepath.Join(dir, "none"), "--acme-roots: open"},
		{"--acme-roots " + empty, "has no certificate in PEM"},
		{"--acme-account i --acme-account-key " + filepath.Join(dir, "none"), "--acme-account-key: open"},
		{"--acme-account i --acme-account-key " + empty, "external account: want"},
	} {
		o := parsed(t, slices.Concat([]string{
			"--listen", "127.0.0.1:0", "--dht", "off", "--acme", "--name", "localhost", "--acme-ca", "https://127.0.0.1:1/",
			"--state-dir", filepath.Join(dir, "state"),
		}, strings.Fields(c.flags))...)
		if g, err := open(o, newLogger(o, t.Output())); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.flags, err, c.want)
			if err == nil {
				g.close()
			}
		}
	}
}

// --check said a mistake about names twice, and complained of a folder if there was no directory
// that it could be in.
func TestCheckSaysAMistakeOfACMEOnce(t *testing.T) {
	for args, want := range map[string]string{
		"--acme --name localhost --state-dir " + t.TempDir(): "acme: no name that the authority could certify",
		"--acme --name a.example":                            "--acme needs --state-dir",
		"--acme --name a.example --state-dir /dev/null":      "/dev/null: not a directory",
	} {
		var errs strings.Builder
		status := run(t.Context(), append([]string{"--check"}, strings.Fields(args)...), io.Discard, &errs)
		if status != statusUsage || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d, prints\n%swant one line with %s", args, status, errs.String(), want)
		}
	}
}

// A host with two ports was two names: its certificate was asked for twice at once, and what was
// wrong with it was said and counted twice.
func TestANameWithTwoPortsIsOne(t *testing.T) {
	o := parsed(t, "--name", "a.example:443", "--name", "b.example", "--name", "a.example:8443")
	if got, want := o.names(), []string{"a.example", "b.example"}; !slices.Equal(got, want) {
		t.Errorf("names = %q, want %q", got, want)
	}
}
