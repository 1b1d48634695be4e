//go:build !race

package soak

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
)

// tokens are those that the gateway's file lets in, or whose keys are in it. Each generation of
// them lives until the second one after it has come.
type tokens struct {
	jwt  bool
	file string

	mu          sync.Mutex
	generations []*generation // guarded by mu
	current     *generation   // guarded by mu; the newest that the gateway knows
	last        int           // guarded by mu; number of a token
}

// generation are tokens that come and go together.
type generation struct {
	key   ed25519.PrivateKey // of JSON Web Tokens
	plain string             // a token without limits
	lines []string           // of a token file

	// guarded by the tokens' mu
	users int                  // acts that may show a token yet
	free  map[actKind][]string // tokens with limits, each of a name of its own
}

// limitsOf are those of the tokens for each kind of act that meets limits.
var limitsOf = map[actKind]auth.Limits{
	actLimits: {Sessions: 2, Topics: 2, Circuits: 1},
	actBytes:  {Bytes: 100_000},
}

// each is how many tokens of each kind with limits a generation has.
const each = 48

func newTokens(t *testing.T, jwt bool, dir string) *tokens {
	k := &tokens{jwt: jwt, file: filepath.Join(dir, "tokens")}
	k.use(k.add(t))
	return k
}

// files are the options of the gateway.
func (k *tokens) files() []string {
	if k.jwt {
		return []string{"--jwt-key", k.file}
	}
	return []string{"--token-file", k.file}
}

// add adds a generation to the file. The gateway may not know it yet.
func (k *tokens) add(t *testing.T) *generation {
	g := &generation{free: make(map[actKind][]string)}
	if k.jwt {
		var err error
		if _, g.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	g.plain = k.mintLocked(t, g, auth.Limits{Sessions: -1, NewTopics: -1, Topics: -1, Circuits: -1}, time.Time{})
	for kind, limits := range limitsOf {
		for range each {
			g.free[kind] = append(g.free[kind], k.mintLocked(t, g, limits, time.Time{}))
		}
	}
	k.generations = append(k.generations, g)
	k.writeLocked(t)
	return g
}

// use makes g, which the gateway knows, the generation whose tokens are shown.
func (k *tokens) use(g *generation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = g
}

// take returns the generation whose tokens are shown, and a token of it for that kind of act, or
// "". They stay until free is called.
func (k *tokens) take(kind actKind) (g *generation, token string, free func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	g = k.current
	g.users++
	if limited := g.free[kind]; len(limited) > 0 {
		token, g.free[kind] = limited[0], limited[1:]
	}
	return g, token, func() {
		k.mu.Lock()
		g.users--
		k.mu.Unlock()
	}
}

// revoke takes the oldest generation out of the file, if there are more than two and nobody uses
// it any more, and returns it. The gateway may still know it.
func (k *tokens) revoke(t *testing.T) *generation {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.generations) <= 2 || k.generations[0].users > 0 {
		return nil
	}
	g := k.generations[0]
	k.generations = k.generations[1:]
	k.writeLocked(t)
	return g
}

// brief returns a token that ends after so long. The gateway may not know it yet.
func (k *tokens) brief(t *testing.T, lives time.Duration) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	token := k.mintLocked(t, k.current, auth.Limits{}, time.Now().Add(lives))
	if !k.jwt {
		k.writeLocked(t)
	}
	return token
}

// names returns how many names the tokens have had.
func (k *tokens) names() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// mintLocked makes a token of a new name.
func (k *tokens) mintLocked(t *testing.T, g *generation, limits auth.Limits, expires time.Time) string {
	k.last++
	grant := auth.Grant{Name: fmt.Sprintf("soak-%d", k.last), Limits: limits, Expires: expires}
	b, err := json.Marshal(grant)
	if err != nil {
		t.Fatal(err)
	}
	if !k.jwt {
		token := auth.NewToken()
		name := grant.Name
		grant.Name = ""
		if b, err = json.Marshal(grant); err != nil {
			t.Fatal(err)
		}
		g.lines = append(g.lines, fmt.Sprintf("%s %x %s", name, sha256.Sum256([]byte(token)), b))
		return token
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	if expires.IsZero() {
		expires = time.Now().Add(24 * time.Hour)
	}
	maps.DeleteFunc(claims, func(name string, _ any) bool { return name == "expires" })
	claims["exp"] = expires.Unix()
	if b, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA"}`)) + "." + base64.RawURLEncoding.EncodeToString(b)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(g.key, []byte(text)))
}

// writeLocked replaces the file.
func (k *tokens) writeLocked(t *testing.T) {
	var b strings.Builder
	for _, g := range k.generations {
		if !k.jwt {
			for _, line := range g.lines {
				b.WriteString(line + "\n")
			}
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(g.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	if err := os.WriteFile(k.file+".new", []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(k.file+".new", k.file); err != nil {
		t.Fatal(err)
	}
}
