// Package test checks what no single room can. Here that is the table of who imports whom. The
// folders run the programs with real peers and real browsers:
//
//	web      pages in Chromium and Firefox, and the console
//	native   peers on js-libp2p, and streams with peers of each kind
//	lan      services and gateways on a LAN of network namespaces
//	dht      gateways and peers on the DHT, behind NATs and firewalls
//	acme     certificates from an authority for tests
//	fleet    several gateways, and nginx in front of them
//	path     what is on the way between clients and a gateway: a narrow link
//	program  cmd/server and cmd/swarm: tokens, tunnels, files, memory
//	soak     a gateway for long, with all that comes and goes
//	readme   the examples of the documentation
//	hyperswarm  peers of Hyperswarm, by the relay of web/examples/hyperswarm
//	gateway  whole sessions in one process, with helpers for all
//
// The others help them: attack is an attacker, browser drives the browsers, js-libp2p is a peer,
// node runs scripts of dat.
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
	"certs/acme":       {"certs", "wtproto"},
	"discovery":        {"wtproto"},
	"discovery/fair":   {"discovery"},
	"discovery/p2p":    {"discovery", "discovery/fair", "wtproto"},
	"discovery/mdns":   {"discovery", "wtproto"},
	"discovery/static": {"discovery", "wtproto"},
	"discovery/dat":    {"discovery", "discovery/fair", "wtproto"},
	"server":           {"discovery", "server/auth", "wtproto"},
	"server/auth":      {"wtproto"},
	"servertest":       {"server", "discovery", "wtproto"},
	"client":           {"wtproto"},
	"cmd/server":       {"server", "server/", "client", "discovery", "discovery/", "certs", "certs/", "web", "wtproto"},
	"client/messages":  {},
	"client/secret":    {"client", "wtproto"},
	"cmd/swarm":        {"client", "client/", "server/auth", "discovery", "discovery/", "certs", "wtproto"},
	"web":              {},
	"deploy/":          {},
	"packaging/":       {},
	"internal/":        {},
	"bench":            {"test/", "server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto"},
	"bench/":           {"test/", "server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto"},
	"test/":            {"server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto", "test/"},
	"test":             {"test/", "server", "server/", "servertest", "client", "client/", "discovery", "discovery/", "certs", "wtproto"},
}

// libraries says which rooms may import a library whose path begins so.
var libraries = map[string][]string{
	"github.com/libp2p/":                    {"discovery/p2p", "test/attack", "bench"},
	"github.com/multiformats/":              {"discovery/p2p", "test/attack", "bench"},
	"github.com/grandcat/zeroconf":          {"discovery/mdns"},
	"github.com/miekg/dns":                  {"discovery/mdns", "discovery/dat"},
	"github.com/anacrolix/":                 {"discovery/dat"},
	"github.com/quic-go/quic-go/quicvarint": {"wtproto", "server", "client"},
	"github.com/quic-go/quic-go":            {"server", "client", "cmd/swarm", "test/attack", "bench"},
	"github.com/quic-go/webtransport-go":    {"server", "cmd/swarm", "test/attack", "bench"}, // swarm doctor opens a session as a page does; client is free of HTTP/3
	"github.com/coder/websocket":            {"server", "client", "bench"},
	"github.com/hashicorp/yamux":            {"bench"},
	"gonum.org/":                            {"bench"},
	"github.com/alecthomas/kong":            {"cmd/server", "cmd/swarm"},
	"github.com/schollz/progressbar":        {"cmd/swarm"},
	"github.com/jotaen/kong-completion":     {"cmd/server", "cmd/swarm"},
	"github.com/posener/complete":           {"cmd/server", "cmd/swarm"},
	"github.com/mattn/go-isatty":            {"cmd/server", "cmd/swarm"},
	"github.com/sethvargo/go-diceware":      {"cmd/swarm"},
	"github.com/flynn/noise":                {"client/secret"},
	"github.com/golang-jwt/jwt":             {"server/auth"},
	"github.com/hashicorp/golang-lru":       {"server/auth"},
	"github.com/pires/go-proxyproto":        {},
	"golang.org/x/net/idna":                 {},
	"github.com/caddyserver/certmagic":      {"certs/acme"},
	"github.com/mholt/acmez":                {"certs/acme"},
	"go.uber.org/zap":                       {"certs/acme"},
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

// A client's link is an interface, so that something else than QUIC can fill it, and so is a node
// of the mainline DHT: one file of the room speaks with the library.
func TestOneFileImportsTheLibrary(t *testing.T) {
	for _, tc := range []struct{ dir, file, library string }{
		{"../client", "quic.go", "quic-go"},
		{"../discovery/dat", "mainlinenode.go", "anacrolix"},
	} {
		files, err := filepath.Glob(tc.dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		found := false
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				switch {
				case !strings.Contains(imp.Path.Value, tc.library):
				case filepath.Base(name) == tc.file:
					found = true
				default:
					t.Errorf("%s imports %s", name, imp.Path.Value)
				}
			}
		}
		if !found {
			t.Errorf("%s/%s does not import %s", tc.dir, tc.file, tc.library)
		}
	}
}
