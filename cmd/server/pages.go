package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/web"
)

// consolePolicy lets the console run its own scripts only and connect to gateways on any port.
// Texts of peers stay text: the console cannot make HTML or code of them.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' https: wss: ws://localhost:* ws://*.localhost:* ws://127.0.0.1:*; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Content types of pages.
const (
	typeHTML   = "text/html; charset=utf-8"
	typeScript = "text/javascript; charset=utf-8"
	typeCSS    = "text/css; charset=utf-8"
)

// pages are the files for browsers, by path. Each stands before those that it refers to.
var pages = []struct {
	path, file, contentType string
	everywhere              bool // pages of any origin may use it
}{
	{path: "/{$}", file: "console.html", contentType: typeHTML},
	{path: "/console.js", file: "console.js", contentType: typeScript},
	{path: "/console.css", file: "console.css", contentType: typeCSS},
	{path: "/client.js", file: "swarmgate.js", contentType: typeScript, everywhere: true},
	{path: "/websocket.js", file: "websocket.js", contentType: typeScript, everywhere: true},
	{path: "/messages.js", file: "messages.js", contentType: typeScript, everywhere: true},
	{path: "/secret.js", file: "secret.js", contentType: typeScript, everywhere: true},
}

// addPages adds the console and the modules for pages to mux. Each file is compressed once. Its
// hash in its URL (?v=) says that it is this very content, which browsers then never ask for
// again; the console asks for its parts in this way.
func addPages(mux *http.ServeMux) {
	versions := make(map[string]string)        // URLs with hashes, by path
	for _, p := range slices.Backward(pages) { // what others refer to comes behind them
		content, err := web.Dist.ReadFile("dist/" + p.file)
		if err != nil {
			panic(err) // it is embedded
		}
		if !p.everywhere {
			for path, url := range versions {
				content = bytes.ReplaceAll(content, []byte(`"`+path+`"`), []byte(`"`+url+`"`))
			}
		}
		hash := fmt.Sprintf("%x", sha256.Sum256(content))
		versions[p.path] = p.path + "?v=" + hash
		mux.Handle("GET "+p.path, &page{contentType: p.contentType, everywhere: p.everywhere, hash: hash, plain: content, zipped: zip(content)})
	}
}

// page is a file for browsers.
type page struct {
	contentType   string
	everywhere    bool
	hash          string // SHA-256 of plain
	plain, zipped []byte
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", consolePolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if p.everywhere {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	h.Set("Cache-Control", "no-cache") // browsers ask again, and get 304 by the tag
	if r.URL.Query().Get("v") == p.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Vary", "Accept-Encoding")
	tag, content := p.hash, p.plain
	if acceptsGzip(r.Header.Values("Accept-Encoding")) && r.Header.Get("Range") == "" {
		tag, content = p.hash+"-gzip", p.zipped
		h.Set("Content-Encoding", "gzip")
		w = &sized{w, len(content)}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// sized tells the length of a whole compressed answer, which ServeContent leaves out.
type sized struct {
	http.ResponseWriter
	length int
}

func (s *sized) WriteHeader(status int) {
	if status == http.StatusOK {
		s.Header().Set("Content-Length", strconv.Itoa(s.length))
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *sized) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// zip compresses content.
func zip(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is one
	}
	w.Write(content) // to memory
	w.Close()
	return b.Bytes()
}

// acceptsGzip reports whether an Accept-Encoding header takes gzip.
func acceptsGzip(header []string) bool {
	any := false
	for coding := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		_, q, weighs := strings.Cut(strings.ReplaceAll(weight, " ", ""), "q=")
		n, err := strconv.ParseFloat(q, 64)
		takes := !weighs || err == nil && n > 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return takes
		case "*":
			any = takes
		}
	}
	return any
}

// strictTransport is for a year, and for this host alone.
const strictTransport = "max-age=31536000"

// guarded sets headers of all answers to the public: they are what they say they are, and pages
// elsewhere get none of them unasked, which modules change. isTrusted says whether an authority
// has signed the certificate: then a browser that was here comes back by TLS only.
func guarded(isTrusted func() bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.TLS != nil && isTrusted() {
			h.Set("Strict-Transport-Security", strictTransport)
		}
		next.ServeHTTP(w, r)
	})
}
