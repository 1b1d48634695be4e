package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/swarmgate/swarmgate/internal/follow"
	"github.com/swarmgate/swarmgate/wtproto"
)

// clockLeeway is how far the clock of who signs may be ahead of the gateway's.
const clockLeeway = time.Minute

// JWT lets in clients that have a JSON Web Token (RFC 7519) that is signed with a key of a file. A
// key has one algorithm: EdDSA if it is of Ed25519, ES256 if it is of P-256. What a token's header
// says of its algorithm chooses among keys of that algorithm and nothing else, so neither "none"
// nor a public key that is taken for a secret of HS256 opens anything.
//
// The claims are: exp, when the grant ends, which must be there; nbf and iat, which may be a
// minute ahead; aud, which must name the audience that was asked for, and must not be there if
// none was; sub, the name of the grant, or name if there is no sub; and topics, announce, look_up,
// networks and limits as in [Grant.UnmarshalJSON]. Other claims are ignored, so a misspelled one
// restricts nothing: "swarm token check" prints what a token grants.
//
// Any number of goroutines may use it.
type JWT struct {
	files  *follow.Files[[]verifyKey]
	parser *jwt.Parser
	any    bool // no audience is asked for
}

// JWTConfig sets up a [JWT].
type JWTConfig struct {
	// KeyFile holds public keys: in PEM ("PUBLIC KEY"), or as a JSON Web Key Set (RFC 7517).
	// Required.
	KeyFile string
	// Audience is what the claim aud must name. Empty means that tokens must have none.
	Audience string
	// Logger takes the log. Nil is silent.
	Logger *slog.Logger
}

// jwtClaims are the claims that mean something.
type jwtClaims struct {
	jwt.RegisteredClaims
	grantJSON
}

// NewJWT reads the keys. Later the file is looked at when a client comes, at most once a second: a
// bad one is then logged once, and the keys stay what they were. Sessions that there are go on
// until their tokens expire.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("jwt_key", cfg.KeyFile)
	files, err := follow.New([]string{cfg.KeyFile},
		func(contents [][]byte) (*[]verifyKey, error) {
			keys, err := parseVerifyKeys(contents[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cfg.KeyFile, err)
			}
			return &keys, nil
		},
		func(keys *[]verifyKey, err error) {
			if err != nil {
				log.Error("new keys are bad, keeping the old ones", "error", err)
				return
			}
			log.Info("new keys", "keys", len(*keys))
		})
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodES256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(clockLeeway),
	}
	if cfg.Audience != "" {
		opts = append(opts, jwt.WithAudience(cfg.Audience))
	}
	return &JWT{files: files, parser: jwt.NewParser(opts...), any: cfg.Audience == ""}, nil
}

// Check looks at the file now, without waiting for a client.
func (a *JWT) Check() { a.files.Check() }

// Authorize returns the grant of the request's token, CodeUnauthorized without a valid one, or
// CodeTokenExpired.
func (a *JWT) Authorize(_ context.Context, r Request) (Grant, error) {
	if len(r.Token) == 0 {
		return Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "this gateway asks for a token")
	}
	var claims jwtClaims
	_, err := a.parser.ParseWithClaims(string(r.Token), &claims, a.keys)
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenInvalidAudience):
		return Grant{}, wtproto.Errorf(wtproto.CodeTokenExpired, "the token has expired")
	default:
		return Grant{}, &wtproto.Error{Code: wtproto.CodeUnauthorized, Reason: "the token is not valid: " + flaw(err), Err: err}
	}
	if a.any && len(claims.Audience) > 0 {
		return Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "the token is not valid: it names an audience, and this gateway has none")
	}
	g, err := claims.grant()
	if err != nil {
		return Grant{}, &wtproto.Error{Code: wtproto.CodeUnauthorized, Reason: "the token is not valid: its claims are not a valid grant", Err: err}
	}
	return g, g.current()
}

// flaw says for people what is wrong with a token.
func flaw(err error) string {
	for _, f := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "it is not a JSON Web Token"},
		{jwt.ErrTokenUnverifiable, "no key of this gateway fits it"},
		{jwt.ErrTokenSignatureInvalid, "no key of this gateway has signed it"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "it does not say when it expires, or for whom it is"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it is from the future"},
	} {
		if errors.Is(err, f.err) {
			return f.text
		}
	}
	return "its claims are not valid"
}

// grant returns the grant that the claims say.
func (c *jwtClaims) grant() (Grant, error) {
	g, err := c.grantJSON.grant()
	if c.Subject != "" { // "name" is what a person is called, in tokens of OpenID Connect
		g.Name = c.Subject
		err = errors.Join(err, g.Validate())
	}
	if g.Expires.IsZero() || c.ExpiresAt.Before(g.Expires) {
		g.Expires = c.ExpiresAt.Time
	}
	return g, err
}

// keys returns the keys that may have signed t.
func (a *JWT) keys(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range *a.files.Value() {
		if k.method == t.Method && (k.id == "" || kid == "" || k.id == kid) {
			set.Keys = append(set.Keys, k.public)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("no key has its algorithm and id")
	}
	return set, nil
}

// methodOf returns the one algorithm of a public key, or nil if there is none.
func methodOf(key crypto.PublicKey) jwt.SigningMethod {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jwt.SigningMethodES256
		}
	}
	return nil
}

// SignJWT returns a token that grants g, signed with key: an ed25519.PrivateKey or an
// *ecdsa.PrivateKey of P-256. g must expire. An empty id or audience is left out.
func SignJWT(g Grant, key crypto.Signer, id, audience string) (string, error) {
	if g.Expires.IsZero() {
		return "", errors.New("auth: a token must expire")
	}
	if err := g.Validate(); err != nil {
		return "", err
	}
	method := methodOf(key.Public())
	if method == nil {
		return "", fmt.Errorf("auth: want a key of Ed25519 or P-256, got %T", key)
	}
	claims := jwtClaims{grantJSON: grantJSONOf(g)}
	claims.Subject, claims.grantJSON.Name = g.Name, ""
	claims.IssuedAt = jwt.NewNumericDate(time.Now())
	claims.ExpiresAt = jwt.NewNumericDate(g.Expires)
	claims.Expires = time.Time{}
	if audience != "" {
		claims.Audience = jwt.ClaimStrings{audience}
	}
	t := jwt.NewWithClaims(method, claims)
	if id != "" {
		t.Header["kid"] = id
	}
	return t.SignedString(key)
}
