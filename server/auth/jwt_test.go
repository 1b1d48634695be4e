package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/swarmgate/swarmgate/wtproto"
)

func newEd25519(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newECDSA(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publicPEM returns public keys as a file has them.
func publicPEM(t *testing.T, keys ...crypto.Signer) string {
	t.Helper()
	var all []byte
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return string(all)
}

// privatePEM returns a private key as a file has it.
func privatePEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// jwk returns the JSON Web Key of a key, with more members.
func jwk(t *testing.T, key crypto.Signer, more map[string]string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	switch k := key.Public().(type) {
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(k)
	case *ecdsa.PublicKey:
		b, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		m["kty"], m["crv"] = "EC", "P-256"
		m["x"], m["y"] = base64.RawURLEncoding.EncodeToString(b[1:33]), base64.RawURLEncoding.EncodeToString(b[33:])
	default:
		m["kty"], m["n"], m["e"] = "RSA", "AQAB", "AQAB"
	}
	maps.Copy(m, more)
	return m
}

func keySet(t *testing.T, keys ...map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signed returns a token with claims and a header, signed by method with key.
func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims, header map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	maps.Copy(tok.Header, header)
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claims returns claims that are valid for an hour, changed by edit.
func claims(edit map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range edit {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func TestJWT(t *testing.T) {
	ed, ec := newEd25519(t), newECDSA(t, elliptic.P256())
	topic := wtproto.TopicFromName("a")
	now := time.Now()
	for _, tt := range []struct {
		name     string
		audience string
		claims   jwt.MapClaims
		want     Grant
		code     wtproto.Code
	}{
		{"all", "", claims(nil), Grant{Name: "alice"}, wtproto.CodeNone},
		{"everything", "", claims(map[string]any{
			"name": "Alice Smith", "iss": "https://idp.example", "email": "a@b", "nbf": now.Unix(), "iat": now.Unix(), "jti": "1",
			"topics": []string{topic.String(), "ab*"}, "announce": false, "look_up": true, "networks": []string{"dht"},
			"limits": map[string]any{"sessions": 2, "bytes_per_second": 1000},
		}), Grant{
			Name: "alice", Topics: []TopicPrefix{topic[:], {0xab}}, DenyAnnounce: true, Networks: []string{"dht"}, Limits: Limits{Sessions: 2, BytesPerSecond: 1000},
		}, wtproto.CodeNone},
		{"a name without sub", "", claims(map[string]any{"sub": nil, "name": "bob"}), Grant{Name: "bob"}, wtproto.CodeNone},
		{"nobody", "", claims(map[string]any{"sub": nil}), Grant{}, wtproto.CodeNone},
		{"audience", "gw", claims(map[string]any{"aud": "gw"}), Grant{Name: "alice"}, wtproto.CodeNone},
		{"one of several audiences", "gw", claims(map[string]any{"aud": []string{"x", "gw"}}), Grant{Name: "alice"}, wtproto.CodeNone},
		{"another audience", "gw", claims(map[string]any{"aud": "x"}), Grant{}, wtproto.CodeUnauthorized},
		{"no audience", "gw", claims(nil), Grant{}, wtproto.CodeUnauthorized},
		{"an audience where none is asked for", "", claims(map[string]any{"aud": "x"}), Grant{}, wtproto.CodeUnauthorized},
		{"no exp", "", claims(map[string]any{"exp": nil}), Grant{}, wtproto.CodeUnauthorized},
		{"expired a second ago", "", claims(map[string]any{"exp": now.Unix() - 1}), Grant{}, wtproto.CodeTokenExpired},
		{"expired long ago", "", claims(map[string]any{"exp": 1}), Grant{}, wtproto.CodeTokenExpired},
		{"expired, for another audience", "gw", claims(map[string]any{"exp": 1, "aud": "x"}), Grant{}, wtproto.CodeUnauthorized},
		{"nbf a little ahead", "", claims(map[string]any{"nbf": now.Unix() + 30}), Grant{Name: "alice"}, wtproto.CodeNone},
		{"nbf far ahead", "", claims(map[string]any{"nbf": now.Unix() + 300}), Grant{}, wtproto.CodeUnauthorized},
		{"iat far ahead", "", claims(map[string]any{"iat": now.Unix() + 300}), Grant{}, wtproto.CodeUnauthorized},
		{"topics that are none", "", claims(map[string]any{"topics": []string{"wowcool"}}), Grant{}, wtproto.CodeUnauthorized},
		{"topics of another type", "", claims(map[string]any{"topics": "ab*"}), Grant{}, wtproto.CodeUnauthorized},
		{"exp of another type", "", claims(map[string]any{"exp": "tomorrow"}), Grant{}, wtproto.CodeUnauthorized},
		{"a long name", "", claims(map[string]any{"sub": strings.Repeat("a", 5000)}), Grant{}, wtproto.CodeUnauthorized},
		{"huge claims that mean nothing", "", claims(map[string]any{"x": strings.Repeat("a", 5000)}), Grant{Name: "alice"}, wtproto.CodeNone},
	} {
		for _, k := range []struct {
			method jwt.SigningMethod
			key    crypto.Signer
		}{{jwt.SigningMethodEdDSA, ed}, {jwt.SigningMethodES256, ec}} {
			a, err := NewJWT(JWTConfig{KeyFile: file(t, publicPEM(t, k.key)), Audience: tt.audience})
			if err != nil {
				t.Fatal(err)
			}
			g, err := a.Authorize(t.Context(), Request{Token: []byte(signed(t, k.method, k.key, tt.claims, nil))})
			if codeOf(err) != tt.code {
				t.Errorf("%s, %s: %v, want %v", k.method.Alg(), tt.name, err, tt.code)
			}
			if err == nil {
				if left := time.Until(g.Expires); left < 50*time.Minute || left > time.Hour {
					t.Errorf("%s, %s: it expires in %v", k.method.Alg(), tt.name, left)
				}
				if g.Expires = (time.Time{}); !reflect.DeepEqual(g, tt.want) {
					t.Errorf("%s, %s: %+v, want %+v", k.method.Alg(), tt.name, g, tt.want)
				}
			}
		}
	}
}

// Whatever a header says, a key verifies by its own algorithm only.
func TestJWTAttacks(t *testing.T) {
	ed, ec, other := newEd25519(t), newECDSA(t, elliptic.P256()), newEd25519(t)
	edPEM, ecPEM := publicPEM(t, ed), publicPEM(t, ec)
	set := keySet(t, jwk(t, ed, map[string]string{"kid": "ed"}), jwk(t, ec, map[string]string{"kid": "ec", "alg": "ES256", "use": "sig"}))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kid := func(id any) map[string]any { return map[string]any{"kid": id} }
	good := signed(t, jwt.SigningMethodEdDSA, ed, claims(nil), kid("ed"))
	parts := strings.Split(good, ".")
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	x := ed.Public().(ed25519.PublicKey)
	for _, tt := range []struct {
		name, keys, token string
		ok                bool
	}{
		{"good", edPEM, good, true},
		{"good, of a set", set, good, true},
		{"good, of a set, without kid", set, signed(t, jwt.SigningMethodES256, ec, claims(nil), nil), true},
		{"of two keys in PEM", edPEM + ecPEM, signed(t, jwt.SigningMethodES256, ec, claims(nil), nil), true},
		{"none", edPEM, signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil), nil), false},
		{"none in capitals", edPEM, part(`{"alg":"NONE","typ":"JWT"}`) + "." + parts[1] + ".", false},
		{"no alg", edPEM, part(`{}`) + "." + parts[1] + "." + parts[2], false},
		{"alg of another type", edPEM, part(`{"alg":["EdDSA"]}`) + "." + parts[1] + "." + parts[2], false},
		{"HS256 with the PEM as secret", edPEM, signed(t, jwt.SigningMethodHS256, []byte(edPEM), claims(nil), nil), false},
		{"HS256 with the key as secret", set, signed(t, jwt.SigningMethodHS256, []byte(x), claims(nil), kid("ed")), false},
		{"HS256 with the set as secret", set, signed(t, jwt.SigningMethodHS256, []byte(set), claims(nil), nil), false},
		{"RS256", edPEM, signed(t, jwt.SigningMethodRS256, rsaKey, claims(nil), nil), false},
		{"ES256 for an EdDSA key", edPEM, signed(t, jwt.SigningMethodES256, ec, claims(nil), nil), false},
		{"EdDSA for an ES256 key", ecPEM, good, false},
		{"ES256 with the kid of an EdDSA key", set, signed(t, jwt.SigningMethodES256, ec, claims(nil), kid("ed")), false},
		{"wrong kid", set, signed(t, jwt.SigningMethodEdDSA, ed, claims(nil), kid("ec")), false},
		{"unknown kid", set, signed(t, jwt.SigningMethodEdDSA, ed, claims(nil), kid("../../etc/passwd")), false},
		{"another key", set, signed(t, jwt.SigningMethodEdDSA, other, claims(nil), kid("ed")), false},
		{"a key in the header", edPEM, signed(t, jwt.SigningMethodEdDSA, other, claims(nil), map[string]any{"jwk": jwk(t, other, nil)}), false},
		{"other claims", edPEM, parts[0] + "." + part(`{"sub":"root","exp":99999999999}`) + "." + parts[2], false},
		{"no signature", edPEM, parts[0] + "." + parts[1] + ".", false},
		{"two parts", edPEM, parts[0] + "." + parts[1], false},
		{"many dots", edPEM, strings.Repeat(".", 8000), false},
		{"not JSON", edPEM, part("x") + "." + part("y") + "." + part("z"), false},
		{"not text", edPEM, "\xff\xfe.\x00.\x01", false},
		{"empty", edPEM, "", false},
	} {
		a, err := NewJWT(JWTConfig{KeyFile: file(t, tt.keys)})
		if err != nil {
			t.Fatal(err)
		}
		g, err := a.Authorize(t.Context(), Request{Token: []byte(tt.token)})
		if tt.ok && (err != nil || g.Name != "alice") || !tt.ok && codeOf(err) != wtproto.CodeUnauthorized {
			t.Errorf("%s: %+v, %v, want ok = %v", tt.name, g, err, tt.ok)
		}
	}
}

func TestVerifyKeys(t *testing.T) {
	ed, ec := newEd25519(t), newECDSA(t, elliptic.P256())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key crypto.Signer, name, value string) map[string]string {
		return jwk(t, key, map[string]string{name: value})
	}
	for _, tt := range []struct {
		name, content string
		want          int // keys, 0 for a mistake
	}{
		{"PEM", "a comment\n" + publicPEM(t, ed, ec), 2},
		{"set", "\n" + keySet(t, jwk(t, ed, nil), jwk(t, ec, nil)), 2},
		{"set with others", keySet(t, jwk(t, rsaKey, nil), jwk(t, ed, nil), with(ec, "use", "enc"), with(ec, "alg", "ES384"), with(ed, "alg", "Ed25519")), 2},
		{"empty", "", 0},
		{"no keys", `{"keys": []}`, 0},
		{"RSA only", keySet(t, jwk(t, rsaKey, nil)), 0},
		{"RSA in PEM", publicPEM(t, ed, rsaKey), 0},
		{"P-384", publicPEM(t, newECDSA(t, elliptic.P384())), 0},
		{"private", privatePEM(t, ed), 0},
		{"private in a set", keySet(t, with(ed, "d", "AAAA")), 0},
		{"short", keySet(t, with(ed, "x", "AAAA")), 0},
		{"not base64", keySet(t, with(ec, "y", "!")), 0},
		{"not on the curve", keySet(t, with(ec, "y", jwk(t, newECDSA(t, elliptic.P256()), nil)["y"])), 0},
		{"broken", "{", 0},
	} {
		keys, err := parseVerifyKeys([]byte(tt.content))
		if len(keys) != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%s: %d keys, %v, want %d", tt.name, len(keys), err, tt.want)
		}
	}
}

// A token of SignJWT grants what it was made for.
func TestSignJWT(t *testing.T) {
	g := Grant{
		Name: "alice", Topics: []TopicPrefix{{1}}, DenyLookUp: true, Networks: []string{"lan"}, Expires: time.Now().Add(time.Hour).Truncate(time.Second),
		Limits: Limits{Topics: 3},
	}
	for _, key := range []crypto.Signer{newEd25519(t), newECDSA(t, elliptic.P256())} {
		again, err := ParseSigner([]byte(privatePEM(t, key)))
		if err != nil {
			t.Fatal(err)
		}
		token, err := SignJWT(g, again, "k1", "gw")
		if err != nil {
			t.Fatal(err)
		}
		a, err := NewJWT(JWTConfig{KeyFile: file(t, keySet(t, jwk(t, key, map[string]string{"kid": "k1"}))), Audience: "gw"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Authorize(t.Context(), Request{Token: []byte(token)})
		if err != nil || !got.Expires.Equal(g.Expires) {
			t.Errorf("%T: %+v, %v", key, got, err)
		}
		if got.Expires = g.Expires; !reflect.DeepEqual(got, g) {
			t.Errorf("%T: %+v, want %+v", key, got, g)
		}
	}
	if _, err := SignJWT(Grant{}, newEd25519(t), "", ""); err == nil {
		t.Error("SignJWT made a token that does not expire")
	}
	if _, err := SignJWT(g, newECDSA(t, elliptic.P384()), "", ""); err == nil {
		t.Error("SignJWT took a key of P-384")
	}
}

// Keys are followed as token files are.
func TestJWTKeysAreFollowed(t *testing.T) {
	before, after := newEd25519(t), newEd25519(t)
	path := file(t, publicPEM(t, before))
	synctest.Test(t, func(t *testing.T) {
		a, err := NewJWT(JWTConfig{KeyFile: path})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			content   string
			old, next wtproto.Code
		}{
			{publicPEM(t, before, after), wtproto.CodeNone, wtproto.CodeNone},
			{publicPEM(t, after), wtproto.CodeUnauthorized, wtproto.CodeNone},
			{"", wtproto.CodeUnauthorized, wtproto.CodeNone},
		} {
			if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for key, want := range map[*ed25519.PrivateKey]wtproto.Code{&before: step.old, &after: step.next} {
				_, err := a.Authorize(t.Context(), Request{Token: []byte(signed(t, jwt.SigningMethodEdDSA, *key, claims(nil), nil))})
				if codeOf(err) != want {
					t.Errorf("%v, want %v", err, want)
				}
			}
		}
	})
}
