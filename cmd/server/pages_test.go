package main

import (
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
		{"/?echo", "text/html; charset=utf-8", `src="/console.js"`, ""},
		{"/console.js", "text/javascript; charset=utf-8", `from"/client.js"`, ""},
		{"/console.css", "text/css; charset=utf-8", "prefers-reduced-motion", ""},
		{"/client.js", "text/javascript; charset=utf-8", "export{", "*"},
		{"/messages.js", "text/javascript; charset=utf-8", "as Messages", "*"},
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
		if got := r.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("GET %s: X-Content-Type-Options %q", c.path, got)
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
	for _, path := range []string{"/", "/console.js", "/console.css", "/client.js", "/messages.js"} {
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
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self' https:", "base-uri": "'none'",
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
