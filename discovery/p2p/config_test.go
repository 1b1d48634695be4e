package p2p

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestMode(t *testing.T) {
	for _, m := range []Mode{Off, Private, Public} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "Public", "Mode(3)", Mode(3).String()} {
		if got, err := ParseMode(s); err == nil {
			t.Errorf("ParseMode(%q) = %v", s, got)
		}
	}
}

// All mistakes are reported together, each by the name of its field.
func TestConfigMistakes(t *testing.T) {
	_, err := Listen(Config{
		Key:    make(ed25519.PrivateKey, 5),
		Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1", "127.0.0.1:0", "/ip4/127.0.0.1/tcp/0/p2p/" + anID},
		Announce: []string{
			"192.0.2.1:1", "/dns4/example.com/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/tcp/1/ws",
		},
		Mode:   9,
		Serve:  9,
		Seeds:  []string{"/ip4/127.0.0.1/tcp/1"},
		Static: map[wtproto.Topic][]string{{}: {"/ip4/127.0.0.1/p2p/" + anID}},

		DialTimeout: -1, AnswerTimeout: -1, LookUpMin: 2 * time.Minute, RetryMax: time.Millisecond,
	})
	if err == nil {
		t.Fatal("Listen succeeded")
	}
	for _, want := range []string{
		"p2p: config", "Key has 5 bytes",
		"Listen: /ip4/127.0.0.1/udp/0/quic-v1, /ip4/127.0.0.1/tcp/0/p2p/" + anID + ": want /ip4/ADDRESS",
		"127.0.0.1:0: must begin with /", "Mode: Mode(9)", "Serve: Serve(9)",
		"Announce: 192.0.2.1:1: must begin", "/dns4/example.com/tcp/1: want an IP address: other hosts do not resolve names",
		"/ip4/0.0.0.0/tcp/1, /ip4/192.0.2.1/tcp/0, /ip4/192.0.2.1/tcp/1/ws: want /ip4/ADDRESS",
		"Policy is required", "Seeds: /ip4/127.0.0.1/tcp/1: want /p2p/ID at its end", "Static: /ip4/127.0.0.1/p2p",
		"DialTimeout is negative", "AnswerTimeout is negative", "LookUpEvery is 1m0s", "RetryMax is 1ms",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error: %v", want, err)
		}
	}
}

func TestAnnounceMistakes(t *testing.T) {
	for want, c := range map[string]Config{
		"the host listens nowhere": {Announce: []string{"/ip4/45.83.1.1/tcp/1"}},
		"want a public address":    {Announce: []string{"/ip4/10.0.0.1/tcp/1"}, Mode: Public, Listen: []string{"/ip4/127.0.0.1/tcp/0"}},
	} {
		c.Policy = private(t)
		if _, err := c.read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	s, err := Config{Policy: private(t)}.read()
	if err != nil {
		t.Fatal(err)
	}
	if s.AnnounceEvery != 10*time.Minute || s.RecordValidity != 30*time.Minute || s.LookUpEvery != time.Minute || s.AnswerTimeout != 10*time.Second || len(s.seeds) != 0 {
		t.Errorf("defaults: %+v", s.Config)
	}
	s, err = Config{Policy: private(t), Mode: Public}.read()
	if err != nil || s.AnnounceEvery != 22*time.Hour || len(s.seeds) < 4 {
		t.Errorf("defaults on the public DHT: %+v, %d seeds, %v", s.Config, len(s.seeds), err)
	}
}

// An address that is taken is an error that names it, and leaves nothing behind.
func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", taken.Addr().(*net.TCPAddr).Port)
	for _, mode := range []Mode{Off, Private} {
		if h, err := Listen(Config{Policy: private(t), Mode: mode, Listen: []string{"/ip4/127.0.0.1/tcp/0", addr}}); err == nil {
			h.Close()
			t.Error("Listen succeeded")
		} else if !strings.Contains(err.Error(), addr) {
			t.Errorf("error %q does not name %s", err, addr)
		}
	}
}

func TestIdentity(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	h := listen(t, func(c *Config) {
		c.Key, c.Mode = ed25519.NewKeyFromSeed(seed), Off
		c.Listen = []string{"/ip6/::1/tcp/0", "/ip4/127.0.0.1/tcp/0"}
	})
	const want = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	if h.ID() != want {
		t.Errorf("ID = %s, want %s", h.ID(), want)
	}
	if got := h.Name(); got != "dht" {
		t.Errorf("Name = %q", got)
	}
	first := fmt.Sprintf("/ip6/::1/tcp/%d/p2p/%s", h.Port(), want)
	if addrs := strings.Join(h.Addrs(), " "); !strings.Contains(addrs, first) || !strings.Contains(addrs, "/ip4/127.0.0.1/tcp/") {
		t.Errorf("Addrs = %s, want %s among them", addrs, first)
	}
	// Its own addresses are never dialed.
	a, err := parseTarget(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.gater.check(a.id, a.addrs[0]); !errors.Is(err, &wtproto.Error{Code: wtproto.CodeForbidden}) {
		t.Errorf("its own address: %v", err)
	}
	silent := listen(t, func(c *Config) { c.Listen, c.Mode = nil, Off })
	if silent.Port() != 0 || len(silent.Addrs()) != 0 {
		t.Errorf("a host that does not listen is at %v, port %d", silent.Addrs(), silent.Port())
	}
}

// A host that does not listen finds others all the same.
func TestDialOnly(t *testing.T) {
	g := listen(t, gateway)
	n := listen(t, all(seeds(g), func(c *Config) { c.Listen = nil }))
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	join(t, n, discovery.Native(), echo)
	testEcho(t, dial(t, gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1)), 1000)
}

func TestClosed(t *testing.T) {
	h := listen(t, nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range h.Join(context.Background(), testTopic, discovery.Native()) {
		}
	}()
	eventually(t, "it has joined", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.topics) == 1
	})
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	<-ended
	n := 0
	for _, err := range h.Join(t.Context(), testTopic, discovery.Native()) {
		n++
		wantCode(t, "Join of a closed host", err, wtproto.CodeShutdown, false)
	}
	if n != 1 {
		t.Errorf("Join of a closed host yielded %d times", n)
	}
	h.HostSeen(anID, nil)
}

// A second Join of a topic begins when the first has ended.
func TestJoinTwice(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode = Off })
	first := join(t, h, discovery.Native(), nil)
	first.await("the start", isRecovery)
	second := join(t, h, discovery.Native(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for s, err := range h.Join(ctx, testTopic, discovery.Native()) {
		t.Errorf("Join with an ended context yielded %+v, %v", s, err)
	}
	if len(second.items) != 0 {
		t.Error("the second Join did not wait")
	}
	first.leave()
	second.await("the start", isRecovery)
}

func TestStatus(t *testing.T) {
	s := newStatus()
	if works, _, err := s.get(); works || err != nil {
		t.Errorf("at first: %v, %v", works, err)
	}
	a, b := errors.New("a"), errors.New("b")
	for i, tc := range []struct {
		err  error
		news bool
	}{{a, true}, {errors.New("a"), false}, {b, true}, {nil, true}, {nil, false}, {b, true}} {
		_, changed, _ := s.get()
		if got := s.set(tc.err); got != tc.news {
			t.Errorf("%d: set(%v) = %v", i, tc.err, got)
		}
		select {
		case <-changed:
			if !tc.news {
				t.Errorf("%d: changed", i)
			}
		default:
			if tc.news {
				t.Errorf("%d: not changed", i)
			}
		}
		if works, _, err := s.get(); works != (tc.err == nil) || text(err) != text(tc.err) {
			t.Errorf("%d: get = %v, %v", i, works, err)
		}
	}
}

func TestOpens(t *testing.T) {
	for _, tc := range []struct {
		aGateway bool
		a        string
		bGateway bool
		b        string
		want     bool
	}{
		{true, "b", false, "a", true},
		{false, "a", true, "b", false},
		{true, "a", true, "b", true},
		{true, "b", true, "a", false},
		{false, "a", false, "b", true},
		{false, "\xff", false, "\x01", false}, // unsigned
	} {
		if got := opens(tc.aGateway, peer.ID(tc.a), tc.bGateway, peer.ID(tc.b)); got != tc.want {
			t.Errorf("opens(%v %q, %v %q) = %v", tc.aGateway, tc.a, tc.bGateway, tc.b, got)
		}
	}
}

// No type of a library is in what this package exports.
func TestExportedAPI(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	exported := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		foreign := make(map[string]string) // by the name that the file uses
		for _, i := range f.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			if !strings.Contains(p, ".") || strings.HasPrefix(p, "github.com/swarmgate/") {
				continue
			}
			local := path.Base(p)
			if i.Name != nil {
				local = i.Name.Name
			}
			foreign[local] = p
		}
		check := func(what string, n ast.Node) {
			exported++
			ast.Inspect(n, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && foreign[x.Name] != "" {
						t.Errorf("%s: %s shows %s.%s", name, what, foreign[x.Name], s.Sel)
					}
				}
				return true
			})
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					check(d.Name.Name, d.Type)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					checkSpec(s, check)
				}
			}
		}
	}
	if exported < 20 {
		t.Errorf("only %d exported names were found", exported)
	}
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	if p, ok := e.(*ast.StarExpr); ok {
		e = p.X
	}
	return e.(*ast.Ident).Name
}

// checkSpec checks the exported types, fields, variables and constants of s.
func checkSpec(s ast.Spec, check func(string, ast.Node)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return
		}
		st, ok := s.Type.(*ast.StructType)
		if !ok {
			check(s.Name.Name, s.Type)
			return
		}
		for _, f := range st.Fields.List {
			for _, n := range f.Names {
				if n.IsExported() {
					check(s.Name.Name+"."+n.Name, f.Type)
				}
			}
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Type != nil {
				check(n.Name, s.Type)
			}
		}
	}
}
