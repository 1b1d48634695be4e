// Package acme gets certificates from an authority by ACME (RFC 8555) and renews them. [Open]
// returns a [certs.Source] of one certificate for each name of the gateway, DNS names and IP
// addresses alike (RFC 8738). A name that has none is served by another source, the pinned pair,
// so that clients that know its hash can come in until the authority has answered, or if it
// refuses.
//
// Names are proved over TLS on the port for sessions over TCP (TLS-ALPN-01, RFC 8737), or over
// plain HTTP (HTTP-01).
//
// The library that does this is certmagic; only issuing.go, storage.go and log.go know it.
package acme
