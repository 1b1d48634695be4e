package certs_test

import (
	"crypto/sha256"
	"fmt"
	"log"
	"strings"

	"github.com/swarmgate/swarmgate/certs"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway without a domain makes its certificates itself. Clients have to know a hash, which the
// gateway's URL can carry.
func ExampleNewPinned() {
	state, err := certs.OpenStateDir("") // a directory, if they are to outlive the process
	if err != nil {
		log.Fatal(err)
	}
	defer state.Close()
	source, err := certs.NewPinned(state, certs.PinnedConfig{})
	if err != nil {
		log.Fatal(err)
	}
	hashes := source.Hashes() // now and next: they change after 6 days
	cert, err := source.TLSConfig().GetCertificate(nil)
	if err != nil {
		log.Fatal(err)
	}
	u := wtproto.GatewayURL{Host: "192.0.2.1", Port: 4433, Hashes: hashes}
	fmt.Println(source.Kind(), len(hashes), hashes[0] == sha256.Sum256(cert.Certificate[0]))
	fmt.Println(strings.Count(u.String(), "h="))
	// Output:
	// pinned 2 true
	// 2
}
