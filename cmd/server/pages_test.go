package main

import (
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestPagesAreServed(t *testing.T) {
	mux := http.NewServeMux()
	addPages(mux)
	for _, c := range []struct{ path, contentType, holds, cors string }{
		{"/", "text/html; charset=utf-8", "<title>swarmgate console</title>", ""},
		{"/?echo", "text/html; charset=utf-8", `src="/console.js?v=`, ""},
		{"/console.js", "text/javascript; charset=utf-8", `from"/client.js?v=`, ""},
		{"/console.css", "text/css; charset=utf-8", "prefers-reduced-motion", ""},
		{"/client.js", "text/javascript; charset=utf-8", "export{", "*"},
		{"/websocket.js", "text/javascript; charset=utf-8", "as race", "*"},
		{"/messages.js", "text/javascript; charset=utf-8", "as Messages", "*"},
		{"/secret.js", "text/javascript; charset=utf-8", "as secret", "*"},
	} {
		r := ask(mux, "GET", c.path)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != c.contentType {
			t.Errorf("GET %s: %s, %s; want 200, %s", c.path, r.Status, r.Header.Get("Content-Type"), c.contentType)
		}
		content := body(t, r)
		if !strings.Contains(content, c.holds) {
			t.Errorf("GET %s has no %s", c.path, c.holds)
		}
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != c.cors {
			t.Errorf("GET %s: Access-Control-Allow-Origin %q, want %q", c.path, got, c.cors)
		}
		head := ask(mux, "HEAD", c.path)
		if head.StatusCode != 200 || body(t, head) != "" || head.ContentLength != int64(len(content)) {
			t.Errorf("HEAD %s: %s, %d bytes; want 200, %d", c.path, head.Status, head.ContentLength, len(content))
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			if r := ask(mux, method, c.path); r.StatusCode != 405 {
				t.Errorf("%s %s: %s, want 405", method, c.path, r.Status)
			}
		}
	}
	for _, path := range []string{"/console.html", "/swarmgate.js", "/dist/console.js", "/types/index.d.ts", "/client.js/", "/x"} {
		if r := ask(mux, "GET", path); r.StatusCode != 404 {
			t.Errorf("GET %s: %s, want 404", path, r.Status)
		}
	}
}

func TestPagesAreAskedForAgainAndSentOnce(t *testing.T) {
	mux := http.NewServeMux()
	addPages(mux)
	tags := make(map[string]string)
	for _, path := range []string{"/", "/console.js", "/console.css", "/client.js", "/websocket.js", "/messages.js", "/secret.js"} {
		first := ask(mux, "GET", path)
		tag := first.Header.Get("ETag")
		if other, taken := tags[tag]; taken || tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("GET %s: ETag %s (that of %q), Cache-Control %q", path, tag, other, first.Header.Get("Cache-Control"))
		}
		tags[tag] = path
		for known, want := range map[string]int{tag: 304, `"other"`: 200} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("If-None-Match", known)
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("GET %s with If-None-Match %s: %d, want %d", path, known, w.Code, want)
			}
		}
	}
}

// encoded asks for a path with an Accept-Encoding, and perhaps a tag that is known, and returns the
// answer with its body as it came.
func encoded(t *testing.T, address, accept, known string) (*http.Response, string) {
	t.Helper()
	header := []string{"Accept-Encoding", accept}
	if known != "" {
		header = append(header, "If-None-Match", known)
	}
	return get(t, address, header...)
}

// Each page load once took the module and the console anew, as they are: 130 KB.
func TestPagesAreCompressedAndKept(t *testing.T) {
	i := start(t, "--dev-http", "127.0.0.1:0")
	for _, site := range []string{"https://" + i.QUIC, strings.TrimSuffix(i.Info, wtproto.InfoPath)} {
		for _, path := range []string{"/", "/console.js", "/console.css", "/client.js", "/websocket.js", "/messages.js", "/secret.js"} {
			plain, content := encoded(t, site+path, "identity", "")
			tag := plain.Header.Get("ETag")
			if plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") != "Accept-Encoding" || tag == "" {
				t.Errorf("%s%s: %v", site, path, plain.Header)
			}
			for accept, zipped := range map[string]bool{
				"gzip": true, "br, gzip;q=0.5": true, "*": true, "GZIP ; q=1": true, "gzip;q=0": false, "br": false, "*;q=0": false, "*, gzip;q=0": false, "deflate": false, "gzip;q=x": false,
			} {
				r, text := encoded(t, site+path, accept, "")
				if (r.Header.Get("Content-Encoding") == "gzip") != zipped || (r.Header.Get("ETag") == tag) == zipped || r.ContentLength != int64(len(text)) {
					t.Errorf("%s%s with Accept-Encoding %q: %v, %d of %d bytes", site, path, accept, r.Header, len(text), r.ContentLength)
				}
				if zipped {
					z, err := gzip.NewReader(strings.NewReader(text))
					if err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(z); err != nil || string(got) != content || len(text) >= len(content) {
						t.Errorf("%s%s: %d bytes are %d of %d, %v", site, path, len(text), len(got), len(content), err)
					}
				}
				if again, _ := encoded(t, site+path, accept, r.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
					t.Errorf("%s%s with its own tag: %s, want 304", site, path, again.Status)
				}
			}
			hash := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
			for query, want := range map[string]string{"": "no-cache", "?v=" + hash: "public, max-age=31536000, immutable", "?v=" + strings.Repeat("0", 64): "no-cache", "?v=": "no-cache"} {
				if r, text := encoded(t, site+path+query, "identity", ""); r.Header.Get("Cache-Control") != want || text != content {
					t.Errorf("%s%s%s: %s, Cache-Control %q, want %q", site, path, query, r.Status, r.Header.Get("Cache-Control"), want)
				}
			}
		}
		_, page := encoded(t, site+"/", "identity", "")
		parts := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page, -1)
		_, script := encoded(t, site+"/console.js", "identity", "")
		parts = append(parts, regexp.MustCompile(`from"(/[^"]+)"`).FindAllStringSubmatch(script, -1)...)
		if len(parts) < 4 {
			t.Errorf("the console has the parts %q", parts)
		}
		for _, part := range parts {
			if r, _ := encoded(t, site+part[1], "gzip", ""); !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("the console asks for %s: %s, %v; want what is kept", part[1], r.Status, r.Header)
			}
		}
	}
}

// What pages elsewhere may do with an answer, and whether a browser comes back by TLS only.
func TestAnswersSayWhomTheyAreFor(t *testing.T) {
	cert, key, _ := authority(t)
	for _, c := range []struct {
		args []string
		hsts string // by TLS
	}{
		{nil, ""},
		{[]string{"--cert", cert, "--key", key, "--name", "localhost"}, "max-age=31536000"},
	} {
		i := start(t, append(c.args, "--dev-http", "127.0.0.1:0", "--listen", "127.0.0.1:0")...)
		_, port, _ := net.SplitHostPort(i.QUIC)
		secure, dev := "https://127.0.0.1:"+port, strings.TrimSuffix(i.Info, wtproto.InfoPath)
		for _, site := range []string{secure, dev} {
			for path, policy := range map[string]string{
				"/": "same-origin", "/console.js": "same-origin", "/console.css": "same-origin", wtproto.InfoPath: "same-origin", "/nothing": "same-origin",
				"/client.js": "cross-origin", "/websocket.js": "cross-origin", "/messages.js": "cross-origin", "/secret.js": "cross-origin",
			} {
				r, _ := get(t, site+path)
				hsts := c.hsts
				if site == dev {
					hsts = "" // browsers would not believe it
				}
				for name, want := range map[string]string{
					"Cross-Origin-Resource-Policy": policy, "Strict-Transport-Security": hsts, "X-Content-Type-Options": "nosniff",
				} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("%q: %s%s: %s %q, want %q", c.args, site, path, name, got, want)
					}
				}
				if cors := r.Header.Get("Access-Control-Allow-Origin"); (cors == "*") != (policy == "cross-origin") {
					t.Errorf("%s%s: Access-Control-Allow-Origin %q", site, path, cors)
				}
			}
			if r, _ := get(t, site+"/"); r.Header.Get("Cross-Origin-Opener-Policy") != "same-origin" {
				t.Errorf("%s/: Cross-Origin-Opener-Policy %q", site, r.Header.Get("Cross-Origin-Opener-Policy"))
			}
		}
	}
}

// Both the gateway's own port and the one for development serve the console, each under its own
// names only.
func TestConsoleIsOnBothPorts(t *testing.T) {
	i := start(t, "--dev-http", "127.0.0.1:0")
	dev := strings.TrimSuffix(i.Info, wtproto.InfoPath)
	for _, address := range []string{"https://" + i.QUIC, dev} {
		if r, text := get(t, address+"/"); r.StatusCode != 200 || !strings.Contains(text, "swarmgate console") {
			t.Errorf("%s: %s", address, r.Status)
		}
		if r, text := get(t, address+"/client.js", "Origin", "https://app.example"); r.Header.Get("Access-Control-Allow-Origin") != "*" || text == "" {
			t.Errorf("%s/client.js: %s, not for pages elsewhere", address, r.Status)
		}
	}
	r := httptest.NewRequest(http.MethodGet, dev+"/", nil)
	r.Host, r.RequestURI = "rebound.example", ""
	if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r.WithContext(t.Context())); err != nil {
		t.Error(err)
	} else if resp.Body.Close(); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %s, want 421", resp.Status)
	}
}

// A text from a peer must never become a part of the page, and the page connects to gateways only.
func TestConsoleRunsNothingOfOthers(t *testing.T) {
	mux := http.NewServeMux()
	addPages(mux)
	r := ask(mux, "GET", "/")
	rules := make(map[string]string)
	for rule := range strings.SplitSeq(r.Header.Get("Content-Security-Policy"), "; ") {
		name, sources, _ := strings.Cut(rule, " ")
		rules[name] = sources
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self' https: wss: ws://localhost:* ws://*.localhost:* ws://127.0.0.1:*", "base-uri": "'none'",
		"form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
	} {
		if rules[name] != want {
			t.Errorf("%s %q, want %q", name, rules[name], want)
		}
	}
	page := body(t, r)
	if inline := regexp.MustCompile(`<script[^>]*>[^<]|<style| style=| on[a-z]+=`).FindString(page); inline != "" {
		t.Errorf("the page has %q in it, which its policy forbids", inline)
	}
	foreign := regexp.MustCompile(`(?:src|href)="(?:https?:)?//`)
	if url := foreign.FindString(page); url != "" {
		t.Errorf("the page asks another host: %s", url)
	}
	for _, path := range []string{"/console.js", "/console.css"} {
		text := body(t, ask(mux, "GET", path))
		for _, bad := range []string{"innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "url(http", "@import"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
}
