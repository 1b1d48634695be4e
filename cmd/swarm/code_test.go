package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
)

func TestCodesAreReadAsTheyAreMade(t *testing.T) {
	seen := make(map[code]bool)
	for range 1000 {
		c := newCode()
		if got, err := parseCode(string(c)); err != nil || got != c || seen[c] {
			t.Fatalf("%q: read as %q, %v; seen before: %v", c, got, err, seen[c])
		}
		seen[c] = true
	}
	if n := len(codeList()); n != 7772 {
		t.Errorf("%d words, want 7772", n)
	}
	bits := math.Log2(maxCodeNumber) + codeWords*math.Log2(float64(len(codeList())))
	if math.Floor(bits) != 45 {
		t.Errorf("a code has %.1f random bits, want 45", bits)
	}
}

func TestParseCode(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  code
		wrong bool
	}{
		{text: "42-tulip-lantern-parade", want: "42-tulip-lantern-parade"},
		{text: " 42 Tulip lantern  PARADE ", want: "42-tulip-lantern-parade"},
		{text: "7-abacus-abdomen-zoom", want: "7-abacus-abdomen-zoom"},
		{text: "42-tulip-lantern-parad", wrong: true},
		{text: "2026-our-summer-party"},
		{text: "42-tulip-lantern"},
		{text: "tulip-lantern-parade"},
		{text: "0-tulip-lantern-parade"},
		{text: "wowcool"},
		{text: ""},
	} {
		got, err := parseCode(c.text)
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%q: %q, %v; want %q, an error: %v", c.text, got, err, c.want, c.wrong)
		}
	}
}

// The topic of a code is the same in each version of the program: this one was computed with
// Python's hashlib and hmac.
func TestTopicOfACode(t *testing.T) {
	const want = "846395ccdf489634e2b813e4fb061a721527e706ad711819a4f10b5d960de4f4"
	for _, plain := range []bool{false, true} {
		f := filesFlags{Plain: plain}
		got, err := f.fromCode("42-tulip-lantern-parade")
		if err != nil || got.String() != want || (got.secret == nil) != plain {
			t.Errorf("plain %v: %v, %v; want %s", plain, got.Topic, err, want)
		}
	}
}

// Sender and receiver need nothing in common but the gateway and the code.
func TestSendWithACode(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	from, to := t.TempDir(), t.TempDir()
	sum := makeFile(t, filepath.Join(from, "a.bin"), 1<<20)
	s := swarm(t, open(t), through(g, "send", filepath.Join(from, "a.bin"), "--code")...)
	gateway.Eventually(t, "the code", func() bool { return strings.Contains(s.out.String(), "\n") })
	c, _, _ := strings.Cut(s.out.String(), "\n")
	if got, err := parseCode(c); err != nil || string(got) != c {
		t.Fatalf("%q is not a code: %v", c, err)
	}
	r := swarm(t, open(t), through(g, "receive", strings.ReplaceAll(c, "-", " "), "-o", to)...)
	for name, p := range map[string]*process{"send": s, "receive": r} {
		if status := p.wait(t); status != 0 {
			t.Errorf("%s: status %d, %s", name, status, p.errs.String())
		}
	}
	if got, err := hashFile(filepath.Join(to, "a.bin")); err != nil || fmt.Sprintf("%x", got) != sum {
		t.Errorf("%x, %v; want %s", got, err, sum)
	}
}

// Whoever comes first has the code, and others get nothing: not even if the first takes nothing
// and leaves, which ends the sender.
func TestACodeIsForOneReceiver(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	from := t.TempDir()
	makeFile(t, filepath.Join(from, "a.bin"), 1<<20)
	s := swarm(t, open(t), through(g, "send", filepath.Join(from, "a.bin"), "--code")...)
	gateway.Eventually(t, "the code", func() bool { return strings.Contains(s.out.String(), "\n") })
	line, _, _ := strings.Cut(s.out.String(), "\n")
	shared, err := secret.FromText(line)
	if err != nil {
		t.Fatal(err)
	}
	enter := func() *secret.Conn {
		room, err := secret.NewRoom(shared, nil).Join(gateway.Context(t), g.Dial(t, client.Config{}), client.JoinOptions{MaxPeers: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { room.Close() })
		c, err := room.Accept(gateway.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := enter()
	console, err := detectConsole(first, first.Peer().Initiator)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := console.receive(); err != nil || m.Text != "a.bin" {
		t.Fatalf("the first receiver reads %+v, %v; want the offer of a.bin", m, err)
	}
	second := enter()
	if late, err := detectConsole(second, second.Peer().Initiator); err == nil {
		if m, err := late.receive(); err == nil {
			t.Errorf("the second receiver reads %+v, want an error", m)
		}
	}
	if len(s.status) > 0 {
		t.Error("the sender has ended because of the second receiver")
	}
	first.Close()
	if status := s.wait(t); status != statusFailed || !strings.Contains(s.errs.String(), errCodeUsed.Error()) {
		t.Errorf("status %d, %s; want %d, %v", status, s.errs.String(), statusFailed, errCodeUsed)
	}
}
