package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// verifyKey is a public key that may have signed tokens.
type verifyKey struct {
	id     string // empty for none
	method jwt.SigningMethod
	public crypto.PublicKey
}

// parseVerifyKeys reads public keys in PEM, or a JSON Web Key Set.
func parseVerifyKeys(b []byte) ([]verifyKey, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return parseKeySet(b)
	}
	var keys []verifyKey
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("want a block PUBLIC KEY, got %s", block.Type)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		method := methodOf(public)
		if method == nil {
			return nil, fmt.Errorf("want a key of Ed25519 or P-256, got %T", public)
		}
		keys = append(keys, verifyKey{method: method, public: public})
	}
	if len(keys) == 0 {
		return nil, errors.New("neither public keys in PEM nor a JSON Web Key Set")
	}
	return keys, nil
}

// jsonKey is a JSON Web Key (RFC 7517, RFC 8037).
type jsonKey struct {
	KeyType string `json:"kty"`
	Curve   string `json:"crv"`
	ID      string `json:"kid"`
	Use     string `json:"use"`
	Alg     string `json:"alg"`
	X       string `json:"x"`
	Y       string `json:"y"`
	D       string `json:"d"` // there in private keys
}

// parseKeySet reads a JSON Web Key Set. Keys of other kinds, which an issuer may have beside, are
// left out.
func parseKeySet(b []byte) ([]verifyKey, error) {
	var set struct{ Keys []jsonKey }
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, err
	}
	var keys []verifyKey
	for i, j := range set.Keys {
		if j.D != "" {
			return nil, fmt.Errorf("key %d is private: only public keys belong here", i)
		}
		if j.Use != "" && j.Use != "sig" {
			continue
		}
		public, err := j.public()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		method := methodOf(public)
		if method == nil || j.Alg != "" && j.Alg != method.Alg() && j.Alg != j.Curve { // RFC 9864 calls EdDSA of Ed25519 by its curve
			continue
		}
		keys = append(keys, verifyKey{id: j.ID, method: method, public: public})
	}
	if len(keys) == 0 {
		return nil, errors.New("no Ed25519 or P-256 key for signatures")
	}
	return keys, nil
}

// public returns the key, or nil if it is of another kind.
func (j *jsonKey) public() (crypto.PublicKey, error) {
	x, err := base64.RawURLEncoding.DecodeString(j.X)
	if err != nil {
		return nil, fmt.Errorf("x: %w", err)
	}
	switch {
	case j.KeyType == "OKP" && j.Curve == "Ed25519":
		if len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("x has %d bytes, want %d", len(x), ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(x), nil
	case j.KeyType == "EC" && j.Curve == "P-256":
		y, err := base64.RawURLEncoding.DecodeString(j.Y)
		if err != nil {
			return nil, fmt.Errorf("y: %w", err)
		}
		if len(x) != 32 || len(y) != 32 {
			return nil, errors.New("x and y have 32 bytes each")
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	}
	return nil, nil
}

// ParseSigner reads a private key in PEM ("PRIVATE KEY", or "EC PRIVATE KEY") for [SignJWT].
func ParseSigner(b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("auth: no private key in PEM")
	}
	if block.Type == "EC PRIVATE KEY" {
		return x509.ParseECPrivateKey(block.Bytes)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("auth: %s: %w", block.Type, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("auth: %T cannot sign", key)
	}
	return signer, nil
}
