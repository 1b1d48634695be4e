package servertest_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/servertest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A gateway of this package takes sessions over WebSocket on the TCP port of its URL, and on that
// of its info server, and the info document says where, relative to itself.
func TestWebSocket(t *testing.T) {
	gw := servertest.NewServer(server.Config{})
	defer gw.Close()
	info := gw.InfoServer()
	defer info.Close()
	u, err := wtproto.ParseGatewayURL(gw.URL)
	if err != nil {
		t.Fatal(err)
	}
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if sha256.Sum256(s.PeerCertificates[0].Raw) != gw.CertHash {
				t.Error("another certificate")
			}
			return nil
		},
	}}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for site, client := range map[string]*http.Client{info.URL: info.Client(), "https://" + u.Address(): secure} {
		r, err := client.Get(site + wtproto.InfoPath)
		if err != nil {
			t.Fatal(err)
		}
		var doc wtproto.Info
		err = json.NewDecoder(r.Body).Decode(&doc)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		base, _ := url.Parse(site + wtproto.InfoPath)
		at, err := base.Parse(doc.WebSocket)
		if err != nil || at.String() != site+wtproto.Path {
			t.Fatalf("WebSocket is at %v, %v; want %s%s", at, err, site, wtproto.Path)
		}
		conn, _, err := websocket.Dial(ctx, at.String(), &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{wtproto.ALPN}})
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(ctx, websocket.MessageText, []byte("session "+strings.Repeat("0a", 16)))
		conn.Write(ctx, websocket.MessageBinary, wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: wtproto.Secret{1}}.Append(nil))
		_, b, err := conn.Read(ctx)
		if err != nil || len(b) == 0 || wtproto.Type(b[0]) != wtproto.TypeWelcome {
			t.Errorf("%s: got %x, %v instead of WELCOME", site, b, err)
		}
		conn.Close(4000, "")
	}
	info.Client().CloseIdleConnections()
	secure.CloseIdleConnections()
}
