// Package certs is how a gateway proves to clients who it is. A [Source] hands out the TLS
// configuration and what clients have to know beforehand: [Pinned] makes its certificates itself
// and tells their hashes, [Files] serves a certificate of an authority from PEM files. Neither has
// a goroutine: both look at the clock or at the files when a client connects. Package acme gets
// certificates from an authority by itself.
//
// [StateDir] keeps what has to outlive the process, those certificates and the gateway's other
// keys.
//
// The application protocols are the caller's: it sets NextProtos on the [tls.Config] of each
// listener.
package certs
