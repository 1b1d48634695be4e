package auth

import (
	"crypto/rand"
	"encoding/base64"
)

// NewToken returns a token of 256 random bits, which is text without white space: 43 letters,
// digits, "-" and "_". It does not begin with "-", so that a command line never takes it for a
// flag.
func NewToken() string {
	var b [32]byte
	for {
		rand.Read(b[:])
		if token := base64.RawURLEncoding.EncodeToString(b[:]); token[0] != '-' {
			return token
		}
	}
}
