package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

func newPinnedTest(t *testing.T, d *StateDir, cfg PinnedConfig) *Pinned {
	t.Helper()
	p, err := NewPinned(d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// handshake connects to source as a client would, and returns the certificate that it was shown.
func handshake(t *testing.T, s Source, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client = client.Clone()
	client.InsecureSkipVerify = true
	server := tls.Server(a, s.TLSConfig())
	done := make(chan error)
	go func() { done <- server.Handshake() }()
	c := tls.Client(b, client)
	err := c.Handshake()
	if err != nil {
		b.Close()
	}
	if serverErr := <-done; err == nil {
		err = serverErr
	}
	if err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestPinnedCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinnedTest(t, openState(t, ""), PinnedConfig{Names: []string{"gateway.example", "*.swarm_1.example", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"}})
		c, err := handshake(t, p, &tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		hashes := p.Hashes()
		if len(hashes) != 2 || hashes[0] != sha256.Sum256(c.Raw) || hashes[1] == hashes[0] {
			t.Errorf("hashes = %x; want %x and another", hashes, sha256.Sum256(c.Raw))
		}
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() || c.SignatureAlgorithm != x509.ECDSAWithSHA256 || c.Version != 3 || c.IsCA {
			t.Errorf("key %T, %v, version %d, CA %v; want ECDSA P-256 with SHA-256, version 3 and no CA", c.PublicKey, c.SignatureAlgorithm, c.Version, c.IsCA)
		}
		now := time.Now()
		if from, to := now.Add(-time.Hour), now.Add(13*day-time.Hour); !c.NotBefore.Equal(from) || !c.NotAfter.Equal(to) {
			t.Errorf("valid from %v to %v, want %v to %v", c.NotBefore, c.NotAfter, from, to)
		}
		if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			t.Errorf("not self-signed: %v", err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		for name, want := range map[string]bool{
			"gateway.example": true, "a.swarm_1.example": true, "192.0.2.1": true, "[2001:db8::1]": true, "192.0.2.2": true, "localhost": false,
		} {
			if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); (err == nil) != want {
				t.Errorf("Verify for %s = %v, want success: %v", name, err, want)
			}
		}
	})
}

func TestPinnedDefaultNames(t *testing.T) {
	p := newPinnedTest(t, openState(t, ""), PinnedConfig{})
	c, err := handshake(t, p, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestPinnedBadNames(t *testing.T) {
	bad := []string{"", "a b", "-a", "a-", "a..b", ".a", "a.", "ü.example", "a/b", "host:4433", "[::1]", "fe80::1%eth0", "*", "a.*.b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa"}
	p, err := NewPinned(openState(t, ""), PinnedConfig{Names: append([]string{"good.example"}, bad...)})
	if p != nil || err == nil {
		t.Fatalf("NewPinned = %v, %v; want an error", p, err)
	}
	if got := strings.Count(err.Error(), "neither a DNS name nor an IP address"); got != len(bad) {
		t.Errorf("%d names are reported, want %d: %v", got, len(bad), err)
	}
}

func TestTLSConfig(t *testing.T) {
	p := newPinnedTest(t, openState(t, ""), PinnedConfig{})
	f := newTestFiles(t).open(t, nil)
	for _, s := range []Source{p, f} {
		if _, err := handshake(t, s, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
			t.Errorf("%s: TLS 1.2 is served", s.Kind())
		}
		a, b := s.TLSConfig(), s.TLSConfig()
		if a == b || a.NextProtos != nil {
			t.Errorf("%s: TLSConfig is shared or has NextProtos %q", s.Kind(), a.NextProtos)
		}
	}
	if p.Kind() != "pinned" || f.Kind() != "ca" || f.Hashes() != nil {
		t.Errorf("kinds %q and %q, hashes of files %x", p.Kind(), f.Kind(), f.Hashes())
	}
}

// visitors checks what all clients of a pinned gateway see.
type visitors struct {
	learned []visit
	turns   int
	last    [32]byte
}

type visit struct {
	at     time.Time
	hashes [][32]byte
}

// come is a visit now: of a client that knows nothing, and again of all that were here in the last
// 5 days.
func (v *visitors) come(t *testing.T, s Source) {
	t.Helper()
	now := time.Now()
	cert, err := s.TLSConfig().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	hashes := s.Hashes()
	c := cert.Leaf
	switch hash := sha256.Sum256(c.Raw); {
	case c.NotAfter.Sub(c.NotBefore) > 14*day:
		t.Fatalf("%v: valid for %v", now, c.NotAfter.Sub(c.NotBefore))
	case now.Add(-time.Hour).Before(c.NotBefore.Add(-time.Second)), now.Add(12 * time.Hour).After(c.NotAfter):
		t.Fatalf("%v: served is a certificate of %v to %v", now, c.NotBefore, c.NotAfter)
	case len(hashes) != 2 || hashes[0] != hash || hashes[1] == hash:
		t.Fatalf("%v: hashes are %x, served is %x", now, hashes, hash)
	case hash != v.last:
		v.turns++
		v.last = hash
	}
	v.learned = slices.DeleteFunc(v.learned, func(old visit) bool { return now.Sub(old.at) > 5*day })
	for _, old := range v.learned {
		if !slices.Contains(old.hashes, v.last) {
			t.Fatalf("a client that came at %v knows nothing of what is served at %v", old.at, now)
		}
	}
	v.learned = append(v.learned, visit{now, hashes})
}

func TestPinnedRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinnedTest(t, openState(t, ""), PinnedConfig{})
		var v visitors
		for range 60 * 24 {
			v.come(t, p)
			time.Sleep(time.Hour)
		}
		if v.turns != 10 {
			t.Errorf("%d certificates were served in 60 days, want 10", v.turns)
		}
	})
}

// The next certificate is known for 6 days before it is served, and the one before it would have
// lasted a day longer.
func TestPinnedNextIsKnownBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinnedTest(t, openState(t, ""), PinnedConfig{})
		next, since := p.Hashes()[1], time.Now()
		for turns := 0; turns < 5; {
			time.Sleep(time.Minute)
			current, _ := p.pair()
			hashes := p.Hashes()
			if hashes[1] == next {
				continue
			}
			now := time.Now()
			if hashes[0] != next || now.Sub(since) != 6*day {
				t.Fatalf("after %v the current certificate is %x, want %x after 6 days", now.Sub(since), hashes[0], next)
			}
			if left := current.Leaf.NotAfter.Sub(now); left < 6*day {
				t.Errorf("the current certificate ends %v after the next was made, want 6 days at least", left)
			}
			next, since = hashes[1], now
			turns++
		}
	})
}

// Visits and restarts at any times, days or weeks apart, with clients that come back: nobody is
// ever locked out.
func TestPinnedIrregularVisits(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			d := openState(t, dir)
			p := newPinnedTest(t, d, PinnedConfig{})
			var v visitors
			for range 200 {
				v.come(t, p)
				longest := day
				if random.IntN(10) == 0 {
					longest = 20 * day
				}
				time.Sleep(time.Duration(random.Int64N(int64(longest))))
				if random.IntN(3) == 0 {
					d.Close()
					d = openState(t, dir)
					p = newPinnedTest(t, d, PinnedConfig{})
				}
			}
		})
	}
}

func TestPinnedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var before [][32]byte
		start := func() *Pinned {
			d := openState(t, dir)
			defer d.Close()
			return newPinnedTest(t, d, PinnedConfig{})
		}
		before = start().Hashes()
		for _, tc := range []struct {
			after time.Duration
			kept  int // of the two certificates
		}{
			{0, 2},
			{6*day - time.Second, 2},
			{time.Second, 1}, // the next is now the current one
			{13 * day, 0},    // both have ended
			{5 * day, 2},
		} {
			time.Sleep(tc.after)
			after := start().Hashes()
			kept := 0
			for _, h := range after {
				if slices.Contains(before, h) {
					kept++
				}
			}
			if kept != tc.kept || kept == 1 && after[0] != before[1] || kept == 2 && after[0] != before[0] {
				t.Errorf("after %v: %x became %x, want %d kept", tc.after, before, after, tc.kept)
			}
			before = after
		}
	})
}

// A certificate from the future, made while the clock was wrong, is of no use to clients.
func TestPinnedClockWasAhead(t *testing.T) {
	dir := t.TempDir()
	d := openState(t, dir)
	ahead := newPinnedTest(t, d, PinnedConfig{}).Hashes() // by decades: the bubble below is in the year 2000
	synctest.Test(t, func(t *testing.T) {
		p := newPinnedTest(t, d, PinnedConfig{})
		if slices.Contains(ahead, p.Hashes()[0]) {
			t.Error("a certificate is served that is not valid yet")
		}
		new(visitors).come(t, p)
	})
}

func TestPinnedDamagedState(t *testing.T) {
	d := openState(t, "")
	newPinnedTest(t, d, PinnedConfig{})
	good, err := d.Read(pinnedName)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.SplitAfter(string(good), "-----\n")
	if len(blocks) != 9 {
		t.Fatalf("the state file is %q", good)
	}
	swapped := slices.Concat(blocks[0:2], blocks[6:8], blocks[4:6], blocks[2:4]) // each with the other's key
	for name, data := range map[string]string{
		"empty":        "",
		"cut":          string(good[:len(good)-40]),
		"one half":     strings.Join(blocks[:4], ""),
		"no key":       strings.Join(slices.Concat(blocks[:2], blocks[4:8]), ""),
		"other keys":   strings.Join(swapped, ""),
		"not PEM":      "hello",
		"broken DER":   strings.Replace(string(good), "MII", "AII", 1),
		"certificates": strings.Join(slices.Concat(blocks[:2], blocks[:2], blocks[:2], blocks[:2]), ""),
	} {
		if err := d.Write(pinnedName, []byte(data)); err != nil {
			t.Fatal(err)
		}
		p, err := NewPinned(d, PinnedConfig{})
		if p != nil || err == nil || !strings.Contains(err.Error(), pinnedName) || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: NewPinned = %v, %v; want an error that says what to do", name, p, err)
		}
		if now, err := d.Read(pinnedName); err != nil || string(now) != data {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestPinnedClosedState(t *testing.T) {
	d := openState(t, "")
	d.Close()
	if p, err := NewPinned(d, PinnedConfig{}); p != nil || err == nil {
		t.Errorf("NewPinned = %v, %v; want an error", p, err)
	}
}

// A state directory that cannot be written to costs log lines, no client, and nothing once it can
// be.
func TestPinnedSaveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		d := openState(t, dir)
		var log bytes.Buffer
		p := newPinnedTest(t, d, PinnedConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		inTheWay := filepath.Join(dir, ".new-"+pinnedName)
		if err := os.Mkdir(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		var v visitors
		v.come(t, p)
		time.Sleep(6 * day)
		for range 10 { // within 50 s
			v.come(t, p)
			time.Sleep(5 * time.Second)
		}
		if got := strings.Count(log.String(), "cannot save"); got != 1 {
			t.Errorf("the failure was logged %d times in a minute, want once:\n%s", got, &log)
		}
		if err := os.RemoveAll(inTheWay); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		v.come(t, p)
		if v.turns != 2 {
			t.Errorf("%d certificates were served, want 2", v.turns)
		}
		d.Close()
		if got, want := newPinnedTest(t, openState(t, dir), PinnedConfig{}).Hashes(), p.Hashes(); !slices.Equal(got, want) {
			t.Errorf("after a restart: %x, want %x", got, want)
		}
	})
}

func TestPinnedLog(t *testing.T) {
	var log bytes.Buffer
	p := newPinnedTest(t, openState(t, ""), PinnedConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, h := range p.Hashes() {
		if !strings.Contains(log.String(), "sha256="+hex.EncodeToString(h[:])) {
			t.Errorf("no line tells of %x:\n%s", h, &log)
		}
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds a key")
	}
}

// Whoever comes at the moment of the change sees certificates and hashes of before or after it.
func TestPinnedConcurrentHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinnedTest(t, openState(t, ""), PinnedConfig{})
		known := p.Hashes()
		for range 3 {
			time.Sleep(6*day - time.Nanosecond)
			var mu sync.Mutex
			seen := make(map[[32]byte]bool)
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					time.Sleep(time.Duration(i % 2)) // half of them at the moment itself
					c, err := handshake(t, p, &tls.Config{})
					if err != nil {
						t.Error(err)
						return
					}
					if got := p.Hashes(); got[0] == got[1] {
						t.Errorf("hashes = %x", got)
					}
					mu.Lock()
					defer mu.Unlock()
					seen[sha256.Sum256(c.Raw)] = true
				})
			}
			wg.Wait()
			for hash := range seen {
				if !slices.Contains(known, hash) {
					t.Errorf("served is %x, known were %x", hash, known)
				}
			}
			after := p.Hashes()
			if after[0] != known[1] {
				t.Errorf("current is %x, want %x", after[0], known[1])
			}
			known = after
		}
	})
}
