package client

import (
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestPeerShort(t *testing.T) {
	host := "\x00\x24\x08\x01\x12\x20" + "0123456789abcdef0123456789abcdef"
	me := wtproto.Secret{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}.Endpoint() // PROTOCOL 3
	for _, tt := range []struct {
		peer Peer
		want string
	}{
		{Peer{Network: "dht", ID: []byte(host)}, "dht 12D3…3nHb"},
		{Peer{Network: "dht", ID: []byte(host + string(me[:])), Client: true}, "dht de95…a67d"},
		{Peer{Network: "client", ID: me[:], Client: true}, "client de95…a67d"},
		{Peer{Network: "static", ID: []byte("abc")}, "static 616263"},
	} {
		if got := tt.peer.Short(); got != tt.want {
			t.Errorf("Short of %v = %q, want %q", tt.peer, got, tt.want)
		}
	}
}
