// Package test checks what no single room can. Here that is the table of who imports whom. The
// folders run the programs with real peers and real browsers:
//
//	web      pages in Chromium and Firefox, and the console
//	native   peers on js-libp2p, and streams with peers of each kind
//	lan      services and gateways on a LAN of network namespaces
//	dht      gateways and peers on the DHT, behind NATs and firewalls
//	fleet    several gateways, and nginx in front of them
//	program  cmd/server and cmd/swarm: tokens, tunnels, files, and load for long
//	readme   the examples of the documentation
//	gateway  whole sessions in one process, with helpers for all
//
// The others help them: attack is an attacker, browser drives the browsers, js-libp2p is a peer.
package test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/swarmgate/swarmgate/"

// rooms says what each room may import of the project, itself and internal/ apart. A room ending
// in "/" stands for those below it.
var rooms = map[string][]string{
	"wtproto":          {},
	"certs":            {"wtproto"},
	"discovery":        {"wtproto"},
	"discovery/p2p":    {"discovery", "wtproto"},
	"discovery/mdns":   {"discovery", "wtproto"},
	"discovery/static": {"discovery", "wtproto"},
	"server":           {"discovery", "server/auth", "wtproto"},
	"server/auth":      {"wtproto"},
	"servertest":       {"server", "discovery", "wtproto"},
	"client":           {"wtproto"},
	"cmd/server":       {"server", "server/", "client", "discovery", "discovery/", "certs", "web", "wtproto"},
	"client/messages":  {},
	"cmd/swarm":        {"client", "client/", "server/auth", "discovery", "discovery/", "certs", "wtproto"},
	"web":              {},
	"deploy/":          {},
	"internal/":        {},
	"bench":            {"test/", "server", "server/", "servertest", "client", "discovery", "discovery/", "certs", "wtproto"},
	"test/":            {"server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto", "test/"},
	"test":             {"test/", "server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto"},
}

// libraries says which rooms may import a library whose path begins so.
var libraries = map[string][]string{
	"github.com/libp2p/":                    {"discovery/p2p", "test/attack"},
	"github.com/multiformats/":              {"discovery/p2p", "test/attack"},
	"github.com/grandcat/zeroconf":          {"discovery/mdns"},
	"github.com/miekg/dns":                  {"discovery/mdns"},
	"github.com/quic-go/quic-go/quicvarint": {"wtproto", "server", "client"},
	"github.com/quic-go/quic-go":            {"server", "client", "test/attack"},
	"github.com/quic-go/webtransport-go":    {"server", "test/attack"},
	"github.com/alecthomas/kong":            {"cmd/server", "cmd/swarm"},
	"github.com/schollz/progressbar":        {"cmd/swarm"},
	"github.com/jotaen/kong-completion":     {"cmd/swarm"},
	"github.com/posener/complete":           {"cmd/swarm"},
	"github.com/mattn/go-isatty":            {"cmd/server", "cmd/swarm"},
	"github.com/sethvargo/go-diceware":      {"cmd/swarm"},
	"github.com/golang-jwt/jwt":             {"server/auth"},
	"github.com/hashicorp/golang-lru":       {"server/auth"},
	"github.com/pires/go-proxyproto":        {},
	"github.com/prometheus/":                {"cmd/server"},
	"go.yaml.in/yaml":                       {"cmd/server"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room returns the key of rooms that path belongs to, or "".
func room(path string) string {
	if _, ok := rooms[path]; ok {
		return path
	}
	for r := range rooms {
		if strings.HasSuffix(r, "/") && strings.HasPrefix(path, r) {
			return r
		}
	}
	return ""
}

func allowed(path string, list []string) bool {
	return slices.ContainsFunc(list, func(r string) bool {
		return path == r || strings.HasSuffix(r, "/") && strings.HasPrefix(path, r)
	})
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range goList(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		r := room(from)
		if r == "" {
			t.Errorf("%s is no room of the table", from)
			continue
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours {
				if to != from && !strings.HasPrefix(to, "internal/") && !allowed(to, rooms[r]) {
					t.Errorf("%s imports %s", from, to)
				}
				if strings.HasPrefix(from, "internal/") && !strings.HasPrefix(to, "internal/") {
					t.Errorf("%s imports %s: internal/ holds tools only", from, to)
				}
				continue
			}
			var best string
			for lib := range libraries {
				if strings.HasPrefix(imp, lib) && len(lib) > len(best) {
					best = lib
				}
			}
			if best != "" && !allowed(from, libraries[best]) && !strings.HasPrefix(from, "internal/") {
				t.Errorf("%s imports %s", from, imp)
			}
		}
	}
}

func TestServerAndClientHoldNoLibp2p(t *testing.T) {
	for _, p := range goList(t, "./server", "./client") {
		for _, d := range p.Deps {
			if strings.Contains(d, "libp2p") {
				t.Errorf("%s depends on %s", p.ImportPath, d)
			}
		}
	}
}

// A client's link is an interface, so that something else than QUIC can fill it: one file speaks
// QUIC.
func TestOneFileOfClientSpeaksQUIC(t *testing.T) {
	files, err := filepath.Glob("../client/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "quic.go" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if strings.Contains(imp.Path.Value, "quic-go") {
				t.Errorf("%s imports %s", name, imp.Path.Value)
			}
		}
	}
}
