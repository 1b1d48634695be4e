package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// quietServer returns a Server that has an address and serves nobody.
func quietServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.TLS = &tls.Config{}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.addr = &net.UDPAddr{Port: 4433}
	return s
}

// ask sends a request without a body to h.
func ask(h http.Handler, method, host, origin string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, wtproto.InfoPath, nil)
	r.Host = host
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestInfo(t *testing.T) {
	s := quietServer(t, Config{Agent: "mine", MaxTopics: -1, DefaultPeers: 7})
	want := wtproto.Info{
		Agent: "mine", Version: wtproto.Version, QUIC: "gate.example:4433", WebTransport: "https://gate.example:4433/swarm",
		Certificate: wtproto.CertificateInfo{Kind: wtproto.CertificateCA},
		Limits:      wtproto.LimitsInfo{Topics: 0, Circuits: 256, Peers: 7},
	}
	if got := s.Info("gate.example"); !reflect.DeepEqual(got, want) {
		t.Errorf("Info = %+v, want %+v", got, want)
	}
	s = quietServer(t, Config{Hashes: func() [][32]byte { return [][32]byte{{0x0a}, {0x0b}} }})
	const zeros = "00000000000000000000000000000000000000000000000000000000000000"
	certificate := wtproto.CertificateInfo{Kind: wtproto.CertificatePinned, Hashes: []string{"0a" + zeros, "0b" + zeros}}
	if got := s.Info("gate.example").Certificate; !reflect.DeepEqual(got, certificate) {
		t.Errorf("certificate %+v, want %+v", got, certificate)
	}
	s = quietServer(t, Config{Hashes: func() [][32]byte { return nil }}) // an authority has signed one by now
	if got := s.Info("gate.example").Certificate; got.Kind != wtproto.CertificateCA || got.Hashes != nil {
		t.Errorf("without hashes the certificate is %+v", got)
	}
}

func TestInfoTellsWhereTheGatewayIs(t *testing.T) {
	name := []string{"Name.example", "other.example:1"}
	for _, test := range []struct {
		names  []string
		host   string
		secure bool
		want   string
	}{
		{nil, "gate.example", false, "gate.example:4433"},
		{nil, "gate.example:8080", false, "gate.example:4433"},
		{nil, "192.0.2.1:8080", false, "192.0.2.1:4433"},
		{nil, "[::1]:8080", false, "[::1]:4433"},
		{nil, "[::1]", false, "[::1]:4433"},
		{nil, "gate.example", true, "gate.example:443"},
		{nil, "gate.example:8443", true, "gate.example:8443"},
		{nil, "[2001:db8::1]", true, "[2001:db8::1]:443"},
		{nil, "[2001:db8::1]:8443", true, "[2001:db8::1]:8443"},
		{nil, "", true, "127.0.0.9:4433"}, // HTTP/1.0
		{nil, "a b:1", true, "127.0.0.9:4433"},
		{name, "gate.example:8443", true, "name.example:8443"},
		{name, "gate.example", true, "name.example:443"},
		{name, "gate.example:8080", false, "name.example:4433"},
		{name, "", true, "name.example:4433"},
		{[]string{"name.example:443"}, "gate.example:8443", true, "name.example:443"},
		{[]string{"name.example:443"}, "gate.example:8080", false, "name.example:443"},
		{[]string{"[2001:db8::1]:443"}, "gate.example:8080", false, "[2001:db8::1]:443"},
	} {
		r := httptest.NewRequest(http.MethodGet, wtproto.InfoPath, nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 1}))
		r.Host = test.host
		if test.secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		quietServer(t, Config{Names: test.names}).InfoHandler().ServeHTTP(w, r)
		var got wtproto.Info
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("host %q: %v in %q", test.host, err, w.Body)
		}
		if got.QUIC != test.want || got.WebTransport != "https://"+test.want+wtproto.Path {
			t.Errorf("names %q, host %q, TLS %v: %q and %q, want %q", test.names, test.host, test.secure, got.QUIC, got.WebTransport, test.want)
		}
	}
}

func TestInfoHandler(t *testing.T) {
	const listed = "https://app.example"
	for _, test := range []struct {
		name, method, origin string
		origins              []string
		status               int
		cors                 string
	}{
		{"no origin", http.MethodGet, "", []string{listed}, http.StatusOK, ""},
		{"a listed origin", http.MethodGet, listed, []string{listed}, http.StatusOK, listed},
		{"an origin that is not listed", http.MethodGet, "https://evil.example", []string{listed}, http.StatusForbidden, "https://evil.example"},
		{"any origin", http.MethodGet, "https://evil.example", []string{"*"}, http.StatusOK, "https://evil.example"},
		{"no list", http.MethodGet, listed, nil, http.StatusForbidden, listed},
		{"HEAD", http.MethodHead, listed, []string{listed}, http.StatusOK, listed},
		{"POST", http.MethodPost, listed, []string{listed}, http.StatusMethodNotAllowed, listed},
		{"PUT", http.MethodPut, "", nil, http.StatusMethodNotAllowed, ""},
		{"DELETE", http.MethodDelete, "", nil, http.StatusMethodNotAllowed, ""},
		{"OPTIONS", http.MethodOptions, "https://evil.example", []string{listed}, http.StatusMethodNotAllowed, "https://evil.example"},
	} {
		w := ask(quietServer(t, Config{Origins: test.origins}).InfoHandler(), test.method, "gate.example", test.origin)
		if w.Code != test.status || w.Header().Get("Access-Control-Allow-Origin") != test.cors || w.Header().Get("Vary") != "Origin" {
			t.Errorf("%s: status %d, headers %v, want %d, CORS for %q", test.name, w.Code, w.Header(), test.status, test.cors)
		}
		if w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: credentials are allowed", test.name)
		}
		checkJSONAnswer(t, test.name, w)
	}
}

// checkJSONAnswer checks that a success is JSON that no cache keeps, that a forbidden page gets
// none of it, and that a refusal names the allowed methods.
func checkJSONAnswer(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	switch {
	case w.Code == http.StatusOK && (h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || !json.Valid(w.Body.Bytes())):
		t.Errorf("%s: headers %v, %q, want JSON that is not stored", name, h, w.Body)
	case w.Code == http.StatusForbidden && (h.Get("Cache-Control") != "no-store" || json.Valid(w.Body.Bytes())):
		t.Errorf("%s: headers %v, %q, want a sentence that is not stored", name, h, w.Body)
	case w.Code == http.StatusMethodNotAllowed && h.Get("Allow") != "GET, HEAD":
		t.Errorf("%s: Allow %q", name, h.Get("Allow"))
	}
}

func TestTopicsHandler(t *testing.T) {
	s := quietServer(t, Config{Origins: []string{"*"}})
	for method, status := range map[string]int{
		http.MethodGet: http.StatusOK, http.MethodHead: http.StatusOK,
		http.MethodPost: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed, http.MethodOptions: http.StatusMethodNotAllowed,
	} {
		w := ask(s.TopicsHandler(), method, "127.0.0.1", "https://app.example")
		if w.Code != status {
			t.Errorf("%s: status %d, want %d", method, w.Code, status)
		}
		if cors := w.Header().Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%s: pages of %q may read what is for operators", method, cors)
		}
		checkJSONAnswer(t, method, w)
		if status == http.StatusOK && w.Body.String() != "{\n  \"topics\": []\n}\n" {
			t.Errorf("%s: %q, want no topics", method, w.Body)
		}
	}
}

func TestClip(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 0, ""},
		{"", 5, ""},
		{"short", 5, "short"},
		{"longer", 5, "longe"},
		{"any", 0, ""},
		{"€€", 6, "€€"},
		{"€€", 5, "€"},
		{"€€", 4, "€"},
		{"€€", 3, "€"},
		{"€€", 2, ""},
		{"a😀", 4, "a"},
	} {
		if got := clip(test.in, test.n); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.in, test.n, got, test.want)
		}
	}
}
