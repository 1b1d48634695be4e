package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// say is a handler that answers with text.
func say(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

// ask returns what h answers.
func ask(h http.Handler, method, path string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

// body returns the body of r.
func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A page at http://rebound.example:9090, a name that was pointed at 127.0.0.1 after the page was
// loaded, has the same origin as the answers of the admin listener.
func TestPlainHTTPKnowsItsHosts(t *testing.T) {
	h := checkHost([]string{"gateway.example", "2001:db8::1", "my_app_gateway", "xn--bcher-kva.example"}, say("in"))
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:9090": 200, "10.1.2.3:9090": 200, "[::1]:9090": 200, "[::1]": 200, "localhost": 200,
		"LOCALHOST:9090": 200, "gateway.example": 200, "Gateway.Example:9090": 200, "gateway.example.:9090": 200,
		"app.localhost": 200, "a.b.localhost:8080": 200, "my_app_gateway": 200, "xn--bcher-kva.example": 200, "bücher.example": 200, "": 200,
		"rebound.example": 421, "rebound.example:9090": 421, "127.0.0.1.rebound.example": 421, "gateway.example.evil": 421,
		"notlocalhost": 421, "localhost.evil": 421, ":9090": 421, "gateway.example..": 421, "127.0.0.1:9090:1": 421, "your_app_gateway": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestAdminAnswers(t *testing.T) {
	ready := false
	h := adminHandler(func() bool { return ready }, func() []string { return nil }, map[string]http.Handler{topicsPath: say("topics"), principalsPath: say("principals"), metricsPath: say("metrics")})
	for _, c := range []struct {
		ready        bool
		method, path string
		status       int
		body         string
	}{
		{false, "GET", "/healthz", 200, "ok\n"},
		{false, "GET", "/readyz", 503, "no new sessions\n"},
		{true, "GET", "/readyz", 200, "ready\n"},
		{true, "HEAD", "/readyz", 200, ""},
		{false, "OPTIONS", "/", 503, ""},
		{true, "OPTIONS", "/", 200, ""},
		{true, "GET", "/api/topics", 200, "topics"},
		{true, "GET", "/api/principals", 200, "principals"},
		{true, "POST", "/api/principals", 405, ""},
		{true, "GET", "/metrics", 200, "metrics"},
		{true, "POST", "/api/topics", 405, ""},
		{true, "DELETE", "/healthz", 405, ""},
		{true, "GET", "/", 405, ""},
		{true, "GET", "/x", 404, ""},
		{true, "GET", wtproto.InfoPath, 404, ""},
	} {
		ready = c.ready
		r := ask(h, c.method, c.path)
		if r.StatusCode != c.status || c.status < 400 && c.method == "GET" && body(t, r) != c.body {
			t.Errorf("%s %s, ready %v: %s, want %d %q", c.method, c.path, c.ready, r.Status, c.status, c.body)
		}
		if cors := r.Header.Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%s %s lets %q read it", c.method, c.path, cors)
		}
	}
}

// What is wrong although sessions are taken stands below what balancers read, for operators alone.
func TestTroublesAreTold(t *testing.T) {
	h := adminHandler(func() bool { return true }, func() []string { return []string{"one", "two"} }, nil)
	if r := ask(h, "GET", readyPath); r.StatusCode != 200 || body(t, r) != "ready\none\ntwo\n" {
		t.Errorf("%s", r.Status)
	}
}

func TestPublicAnswers(t *testing.T) {
	mux := http.NewServeMux()
	addPublic(mux, func() bool { return true }, say("info"), say("session"))
	if got := body(t, ask(mux, "GET", wtproto.InfoPath)); got != "info" {
		t.Errorf("info = %q", got)
	}
	if got := body(t, ask(mux, "GET", "/")); !strings.Contains(got, "swarmgate console") {
		t.Errorf("/ = %q", got)
	}
	for path, want := range map[string]int{"/x": 404, healthPath: 404, readyPath: 404, topicsPath: 404, principalsPath: 404, metricsPath: 404} {
		if r := ask(mux, "GET", path); r.StatusCode != want {
			t.Errorf("GET %s = %s, want %d", path, r.Status, want)
		}
	}
	if r := ask(mux, "POST", wtproto.InfoPath); r.StatusCode != 405 {
		t.Errorf("POST = %s, want 405", r.Status)
	}
}
