package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
)

var sendSize = flag.Int64("send-size", 16<<20, "how many bytes TestSendOutlivesAGateway sends")

// makeFile writes a file of n bytes that are the same nowhere, and returns the line that tells of
// it.
func makeFile(t *testing.T, path string, n int64) (sum string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{1})
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		r.Read(part)
		h.Write(part)
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		n -= int64(len(part))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Files and directories arrive with their names, those of no bytes too, and both sides tell the
// same hashes. What is in the way is not overwritten.
func TestSendAndReceive(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	from, to := t.TempDir(), t.TempDir()
	sums := make(map[string]string)
	for name, size := range map[string]int64{"a.bin": 5<<20 + 1, "dir/b": 1, "dir/sub/empty": 0} {
		sums[name] = makeFile(t, filepath.Join(from, name), size)
	}
	for i := range 40 { // more than may be on their way at once
		name := fmt.Sprintf("dir/many/%d", i)
		sums[name] = makeFile(t, filepath.Join(from, name), int64(i))
	}
	makeFile(t, filepath.Join(to, "a.bin"), 3)
	s := swarm(t, open(t), through(g, "send", filepath.Join(from, "a.bin"), filepath.Join(from, "dir"), "--new")...)
	gateway.Eventually(t, "the string", func() bool { return strings.Contains(s.out.String(), "\n") })
	line, _, _ := strings.Cut(s.out.String(), "\n")
	r := swarm(t, open(t), "receive", line, "-o", to)
	for name, p := range map[string]*process{"send": s, "receive": r} {
		if status := p.wait(t); status != 0 {
			t.Errorf("%s: status %d, %s", name, status, p.errs.String())
		}
	}
	for name, sum := range sums {
		if want := sum + "  " + name + "\n"; !strings.Contains(s.out.String(), want) {
			t.Errorf("send does not say %s", want)
		}
		path := filepath.Join(to, name)
		if name == "a.bin" {
			path = filepath.Join(to, "a-1.bin")
		}
		if want := sum + "  " + path + "\n"; !strings.Contains(r.out.String(), want) {
			t.Errorf("receive does not say %s", want)
		}
		if got, err := hashFile(path); err != nil || fmt.Sprintf("%x", got) != sum {
			t.Errorf("%s: %x, %v; want %s", path, got, err, sum)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(to, "*.part")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// A gateway that is killed in the middle costs nothing but time: both ends go on through another
// one, from where they were.
func TestSendOutlivesAGateway(t *testing.T) {
	a, b := gateway.Start(t, server.Config{}), gateway.Start(t, server.Config{})
	from, to := t.TempDir(), t.TempDir()
	sum := makeFile(t, filepath.Join(from, "big"), *sendSize)
	args, there := through(a, through(b)...), secret.New().Hex()
	r := swarm(t, open(t), append([]string{"receive", there, "-o", to, "--json"}, args...)...)
	s := swarm(t, open(t), append([]string{"send", filepath.Join(from, "big"), there, "--json"}, args...)...)
	gateway.Eventually(t, "a part of the file", func() bool {
		info, err := os.Stat(filepath.Join(to, "big.part"))
		return err == nil && info.Size() > *sendSize/16
	})
	first := a
	if a.Sessions() < 2 {
		first = b
	}
	first.Close()
	for name, p := range map[string]*process{"send": s, "receive": r} {
		if status := <-p.status; status != 0 { // however long that takes
			t.Errorf("%s: status %d, %s", name, status, p.errs.String())
		}
		if !strings.Contains(p.out.String(), sum) || !strings.Contains(p.out.String(), `"connected"`) {
			t.Errorf("%s did not come back, or does not tell the hash", name)
		}
	}
	if got, err := hashFile(filepath.Join(to, "big")); err != nil || fmt.Sprintf("%x", got) != sum {
		t.Errorf("%x, %v; want %s", got, err, sum)
	}
}
