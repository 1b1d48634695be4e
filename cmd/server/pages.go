package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/swarmgate/swarmgate/web"
)

// consolePolicy lets the console run its own scripts only and connect to gateways on any port.
// Texts of peers stay text: the console cannot make HTML or code of them.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' https:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Content types of pages.
const (
	typeHTML   = "text/html; charset=utf-8"
	typeScript = "text/javascript; charset=utf-8"
	typeCSS    = "text/css; charset=utf-8"
)

// pages are what browsers get, by path.
var pages = []struct {
	path, file, contentType string
	everywhere              bool // pages of any origin may use it
}{
	{path: "/{$}", file: "console.html", contentType: typeHTML},
	{path: "/console.js", file: "console.js", contentType: typeScript},
	{path: "/console.css", file: "console.css", contentType: typeCSS},
	{path: "/client.js", file: "swarmgate.js", contentType: typeScript, everywhere: true},
	{path: "/messages.js", file: "messages.js", contentType: typeScript, everywhere: true},
}

// addPages adds the console and the modules for pages to mux.
func addPages(mux *http.ServeMux) {
	for _, p := range pages {
		content, err := web.Dist.ReadFile("dist/" + p.file)
		if err != nil {
			panic(err) // it is embedded
		}
		tag := fmt.Sprintf(`"%x"`, sha256.Sum256(content))
		mux.HandleFunc("GET "+p.path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", p.contentType)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Content-Security-Policy", consolePolicy)
			if p.everywhere {
				h.Set("Access-Control-Allow-Origin", "*")
				h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			}
			h.Set("Cache-Control", "no-cache") // to be asked for again, which the tag answers
			h.Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		})
	}
}
