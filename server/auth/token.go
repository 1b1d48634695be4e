package auth

import (
	"crypto/rand"
	"encoding/base64"
)

// NewToken returns a token of 256 random bits, which is text without white space: 43 letters,
// digits, "-" and "_".
func NewToken() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
