package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testFiles is a place for a certificate and its key.
type testFiles struct{ cert, key string }

// newTestFiles makes files with a good pair in them.
func newTestFiles(t *testing.T) testFiles {
	t.Helper()
	dir := t.TempDir()
	f := testFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	cert, key, _ := issue(t, time.Now())
	write(t, f.cert, cert)
	write(t, f.key, key)
	return f
}

func (f testFiles) open(t *testing.T, logger *slog.Logger) *Files {
	t.Helper()
	s, err := NewFiles(f.cert, f.key, logger)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// issue returns a certificate of 13 days from at, its key and its hash.
func issue(t *testing.T, at time.Time) (cert, key []byte, hash [32]byte) {
	t.Helper()
	names, err := parseNames(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := makeCertificate(names, at)
	if err != nil {
		t.Fatal(err)
	}
	data, err := marshalPairs(pair{c, c})
	if err != nil {
		t.Fatal(err)
	}
	certBlock, rest := pem.Decode(data)
	keyBlock, _ := pem.Decode(rest)
	return pem.EncodeToMemory(certBlock), pem.EncodeToMemory(keyBlock), sha256.Sum256(c.Leaf.Raw)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// served returns the hash of the certificate that a client is shown.
func served(t *testing.T, s Source) [32]byte {
	t.Helper()
	c, err := handshake(t, s, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(c.Raw)
}

func TestFilesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newTestFiles(t)
		s := files.open(t, nil)
		first := served(t, s)
		cert, key, second := issue(t, time.Now())
		write(t, files.cert, cert)
		write(t, files.key, key)
		time.Sleep(time.Second - time.Nanosecond)
		if got := served(t, s); got != first {
			t.Errorf("within a second %x is served, want %x", got, first)
		}
		time.Sleep(time.Nanosecond)
		if got := served(t, s); got != second {
			t.Errorf("after a second %x is served, want %x", got, second)
		}
	})
}

// The same size and the same time of change: content is what counts.
func TestFilesReloadWithoutNewTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newTestFiles(t)
		old := time.Unix(1, 0)
		touch := func() {
			if err := errors.Join(os.Chtimes(files.cert, old, old), os.Chtimes(files.key, old, old)); err != nil {
				t.Fatal(err)
			}
		}
		touch()
		s := files.open(t, nil)
		cert, key, second := issue(t, time.Now())
		write(t, files.cert, cert)
		write(t, files.key, key)
		touch()
		time.Sleep(time.Second)
		if got := served(t, s); got != second {
			t.Errorf("%x is served, want %x", got, second)
		}
	})
}

func TestFilesBadChange(t *testing.T) {
	_, otherKey, _ := issue(t, time.Now())
	expired, expiredKey, _ := issue(t, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, f testFiles)
		want   string // in the log
	}{
		{"certificate is no PEM", func(t *testing.T, f testFiles) { write(t, f.cert, []byte("hello")) }, "failed to find any PEM data"},
		{"certificate is empty", func(t *testing.T, f testFiles) { write(t, f.cert, nil) }, "failed to find any PEM data"},
		{"key is another", func(t *testing.T, f testFiles) { write(t, f.key, otherKey) }, "private key does not match public key"},
		{"key is missing", func(t *testing.T, f testFiles) {
			if err := os.Remove(f.key); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"certificate has expired", func(t *testing.T, f testFiles) {
			write(t, f.cert, expired)
			write(t, f.key, expiredKey)
		}, "has expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := newTestFiles(t)
				goodCert, goodKey, _ := issue(t, time.Now())
				var log bytes.Buffer
				s := files.open(t, slog.New(slog.NewTextHandler(&log, nil)))
				first := served(t, s)
				tc.change(t, files)
				for range 5 {
					time.Sleep(time.Second)
					if got := served(t, s); got != first {
						t.Fatalf("%x is served, want %x", got, first)
					}
				}
				if got := strings.Count(log.String(), "level=ERROR"); got != 1 || !strings.Contains(log.String(), tc.want) {
					t.Errorf("%d errors are logged, want one with %q:\n%s", got, tc.want, &log)
				}
				if p, err := NewFiles(files.cert, files.key, nil); p != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("NewFiles = %v, %v; want an error with %q", p, err, tc.want)
				}

				write(t, files.cert, goodCert)
				write(t, files.key, goodKey)
				time.Sleep(time.Second)
				if got := served(t, s); got == first {
					t.Error("a good certificate after a bad one is not served")
				}
				if !strings.Contains(log.String(), "level=INFO") {
					t.Errorf("no line tells of the new certificate:\n%s", &log)
				}
				if strings.Contains(log.String(), "PRIVATE") {
					t.Error("the log holds a key")
				}
			})
		})
	}
}

// Certbot replaces one symbolic link a file, Kubernetes the one of the directory above both.
func TestFilesSymlinks(t *testing.T) {
	swap := func(t *testing.T, target, link string) {
		t.Helper()
		temp := link + ".new"
		if err := errors.Join(os.Symlink(target, temp), os.Rename(temp, link)); err != nil {
			t.Fatal(err)
		}
	}
	// version makes a directory with a pair and the times of all others.
	version := func(t *testing.T, dir, name string) (string, [32]byte) {
		t.Helper()
		v := filepath.Join(dir, name)
		if err := os.Mkdir(v, 0o700); err != nil {
			t.Fatal(err)
		}
		cert, key, hash := issue(t, time.Now())
		write(t, filepath.Join(v, "cert.pem"), cert)
		write(t, filepath.Join(v, "key.pem"), key)
		return v, hash
	}
	for _, tc := range []struct {
		name        string
		cert, key   string
		perFileLink bool
	}{
		{name: "a link for each file", cert: "cert.pem", key: "key.pem", perFileLink: true},
		{name: "a link for the directory", cert: "data/cert.pem", key: "data/key.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				point := func(v string) {
					if !tc.perFileLink {
						swap(t, v, filepath.Join(dir, "data"))
						return
					}
					for _, name := range []string{"cert.pem", "key.pem"} {
						swap(t, filepath.Join(v, name), filepath.Join(dir, name))
					}
				}
				v1, first := version(t, dir, "v1")
				v2, second := version(t, dir, "v2")
				point(v1)
				s := testFiles{filepath.Join(dir, tc.cert), filepath.Join(dir, tc.key)}.open(t, nil)
				for _, step := range []struct {
					to   string
					want [32]byte
				}{{v1, first}, {v2, second}, {v1, first}} {
					point(step.to)
					time.Sleep(time.Second)
					if got := served(t, s); got != step.want {
						t.Errorf("with %s %x is served, want %x", step.to, got, step.want)
					}
				}
			})
		})
	}
}

func TestFilesMissing(t *testing.T) {
	dir := t.TempDir()
	if s, err := NewFiles(filepath.Join(dir, "a"), filepath.Join(dir, "b"), nil); s != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewFiles = %v, %v; want %v", s, err, fs.ErrNotExist)
	}
}

// Handshakes go on while the files change under them: each is served one of the pairs, never half
// of one.
func TestFilesConcurrentHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newTestFiles(t)
		s := files.open(t, nil)
		for range 5 {
			before := served(t, s)
			cert, key, after := issue(t, time.Now())
			write(t, files.cert, cert)
			write(t, files.key, key)
			time.Sleep(time.Second)
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					if got := served(t, s); got != before && got != after {
						t.Errorf("%x is served, want %x or %x", got, before, after)
					}
				})
			}
			wg.Wait()
			if got := served(t, s); got != after {
				t.Errorf("%x is served, want %x", got, after)
			}
		}
	})
}
