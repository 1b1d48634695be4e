//go:build !race

package program

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// linked is a volume of files as Kubernetes makes it of a Secret or a ConfigMap: each name is a
// link to ..data/name, and ..data is a link to a directory, which is replaced at once.
type linked struct {
	dir  string
	made int
}

// put replaces all files.
func (l *linked) put(t *testing.T, files map[string]string) {
	t.Helper()
	l.made++
	fresh := fmt.Sprintf("..2026_11_29_12_00_00.%d", l.made)
	data, temp := filepath.Join(l.dir, "..data"), filepath.Join(l.dir, "..data_tmp")
	old, _ := os.Readlink(data)
	err := os.Mkdir(filepath.Join(l.dir, fresh), 0o755)
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(l.dir, fresh, name), []byte(content), 0o644))
	}
	err = errors.Join(err, os.Symlink(fresh, temp), os.Rename(temp, data))
	for name := range files {
		if err := os.Symlink("..data/"+name, filepath.Join(l.dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	if old != "" {
		err = errors.Join(err, os.RemoveAll(filepath.Join(l.dir, old)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shows returns the hash of the certificate that p shows on TCP.
func shows(t *testing.T, p *program.Program) string {
	t.Helper()
	c, err := tls.Dial("tcp", p.QUIC, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sum := sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

// Every file that an option names may be in a volume of Kubernetes: the configuration, keys of the
// state directory, and, while the gateway runs, certificates and tokens, which are replaced all at
// once. Nothing is logged as bad meanwhile.
func TestFilesOfAKubernetesVolume(t *testing.T) {
	source := t.TempDir()
	made := program.Start(t, "--listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "off", "--state-dir", source)
	made.Terminate(t)
	all := make(map[string]string)
	for _, key := range []string{"p2p", "reset", "token"} {
		b, err := os.ReadFile(filepath.Join(source, key))
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(b)
	}
	v := &linked{dir: volume(t, 0, 0o755)}
	at := func(name string) string { return filepath.Join(v.dir, name) }
	all["swarmgate.yaml"] = "max-topics: 7\ncert: " + at("tls.crt") + "\nkey: " + at("tls.key") + "\ntoken-file: " + at("tokens") + "\nstate-dir: " + v.dir + "\n"
	renew := func(name string) (token, hash string) {
		t.Helper()
		cert, key, hash := certificate(t, time.Now())
		token = auth.NewToken()
		line, err := auth.FormatTokenLine(sha256.Sum256([]byte(token)), auth.Grant{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		all["tls.crt"], all["tls.key"], all["tokens"] = string(cert), string(key), line+"\n"
		v.put(t, all)
		return token, hash
	}
	alice, hash := renew("alice")
	a := serverAs(t, nobody, false, v.dir, "--config", at("swarmgate.yaml"), "--handshakes-per-address", "-1")
	p := program.StartCommand(t, a.cmd)
	if p.P2P.ID != made.P2P.ID {
		t.Errorf("the host is %s, want %s", p.P2P.ID, made.P2P.ID)
	}
	for i := range 4 {
		p.Certificate.Hashes = []string{hash}
		if got := shows(t, p); got != hash {
			t.Errorf("%d: it shows %s, want %s", i, got, hash)
		}
		c, err := enter(t, p, alice)
		if err != nil || c.Session().MaxTopics != 7 {
			t.Fatalf("%d: a session: %v, %v", i, c, err)
		}
		before := alice
		alice, hash = renew(fmt.Sprint("alice", i))
		gateway.Eventually(t, "the new certificate", func() bool { return shows(t, p) == hash })
		p.Certificate.Hashes = []string{hash}
		gateway.Eventually(t, "the new token", func() bool {
			c, err := enter(t, p, alice)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		lets(t, p, "the token before", before, wtproto.CodeUnauthorized)
	}
	for _, bad := range []string{"is bad", "are bad"} {
		a.log.hasNot(t, bad)
	}
	kept := maps.Clone(all)
	all["tokens"], all["tls.key"] = "nonsense", "nonsense"
	v.put(t, all)
	gateway.Eventually(t, "words on the bad files", func() bool {
		shows(t, p)
		lets(t, p, "the token while the files are bad", alice, wtproto.CodeNone)
		return a.log.count("new token file is bad") == 1 && a.log.count("new certificate is bad") == 1
	})
	v.put(t, kept)
	if got := shows(t, p); got != hash {
		t.Errorf("after bad files it shows %s, want %s", got, hash)
	}
	p.Terminate(t)
}

// The same of the keys of JSON Web Tokens.
func TestTokenKeysOfAKubernetesVolume(t *testing.T) {
	v := &linked{dir: volume(t, 0, 0o755)}
	renew := func() (token string) {
		t.Helper()
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		token, err = auth.SignJWT(auth.Grant{Name: "alice", Expires: time.Now().Add(time.Hour)}, private, "", "")
		if err != nil {
			t.Fatal(err)
		}
		v.put(t, map[string]string{"public.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
		return token
	}
	token := renew()
	a := serverAs(t, nobody, false, v.dir, "--jwt-key", filepath.Join(v.dir, "public.pem"), "--handshakes-per-address", "-1")
	p := program.StartCommand(t, a.cmd)
	lets(t, p, "the token", token, wtproto.CodeNone)
	for range 2 {
		before := token
		token = renew()
		gateway.Eventually(t, "the new key", func() bool {
			c, err := enter(t, p, token)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		lets(t, p, "a token of the key before", before, wtproto.CodeUnauthorized)
	}
	a.log.hasNot(t, "are bad")
	if names := slices.Sorted(maps.Keys(files(t, v.dir))); len(names) != 4 {
		t.Errorf("the volume has %q, want a link, ..data and a directory with a file", names)
	}
}
