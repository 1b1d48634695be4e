//go:build !race

package program

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The gateway's process, searched in its memory while it holds bytes of a secret room, holds no
// plaintext, no secret and no key of that room. The same search finds the plaintext of a plain
// circuit, and the topic of the room, which the gateway knows.
func TestGatewayHoldsNoSecret(t *testing.T) {
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "off", "--no-lan", "--state-dir", t.TempDir(), "--log-level", "warn")
	url := "swarmgate://" + p.QUIC + "/?h=" + strings.Join(p.Certificate.Hashes, "&h=")
	shared := secret.New()
	topic := wtproto.TopicFromName("plain")
	var plain [2]*client.Conn
	var sealed [2]*secret.Conn
	var identities [2]*secret.Identity
	var topics [2]*client.Topic
	var rooms [2]*secret.Topic
	for i := range 2 {
		c, err := client.Dial(gateway.Context(t), url, client.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		identities[i] = secret.NewIdentity()
		topics[i] = gateway.Join(t, c, topic, client.JoinOptions{})
		rooms[i], err = secret.NewRoom(shared, identities[i]).Join(gateway.Context(t), c, client.JoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { rooms[i].Close() })
	}
	for i := range 2 {
		var err error
		plain[i] = gateway.Accept(t, topics[i])
		if sealed[i], err = rooms[i].Accept(gateway.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	passMuch(t, p, sealed[0], sealed[1])

	// Both circuits are full of bytes that nobody reads, so that the gateway holds some.
	marks := [2][]byte{newMark(), newMark()}
	for i, c := range []io.Writer{plain[0], sealed[0]} {
		if err := c.(interface{ SetWriteDeadline(time.Time) error }).SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(bytes.Repeat(marks[i], 8<<20/len(marks[i])))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d bytes were written, %v; want a circuit that is full", n, err)
		}
	}
	psk, err := hkdf.Key(sha256.New, shared[:], []byte("swarmgate/secret/1"), "psk", 32)
	if err != nil {
		t.Fatal(err)
	}
	key := shared.Topic()
	known := map[string][]byte{"plaintext of the plain circuit": marks[0], "topic of the room": key[:]}
	hidden := map[string][]byte{
		"plaintext": marks[1], "secret": shared[:], "secret as text": []byte(shared.Hex()), "psk": psk,
	}
	for i, c := range sealed {
		public := identities[i].Key()
		binding := c.Binding()
		hidden[fmt.Sprint("private key ", i)] = identities[i].Bytes()
		hidden[fmt.Sprint("public key ", i)] = public[:]
		hidden[fmt.Sprint("binding ", i)] = binding[:]
		hidden[fmt.Sprint("key of a direction ", i)] = directionKey(t, c)
	}
	found := search(t, p.PID(), known, hidden)
	for what := range known {
		if !found[what] {
			t.Errorf("the gateway does not hold the %s, so the search proves nothing", what)
		}
	}
	for what := range hidden {
		if found[what] {
			t.Errorf("the gateway holds the %s", what)
		}
	}
}

// newMark returns bytes that are nowhere else.
func newMark() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// passMuch sends 256 MiB over a sealed circuit. Neither end holds many of them, nor the gateway.
func passMuch(t *testing.T, p *program.Program, from, to *secret.Conn) {
	t.Helper()
	const size = 256 << 20
	chunk := make([]byte, 256<<10)
	rand.Read(chunk)
	sent := make(chan error, 1)
	go func() {
		var err error
		for n := 0; n < size && err == nil; n += len(chunk) {
			_, err = from.Write(chunk)
		}
		sent <- err
	}()
	got := make([]byte, len(chunk))
	var m runtime.MemStats
	var most uint64
	for n := 0; n < size; n += len(chunk) {
		if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, chunk) {
			t.Fatalf("after %d bytes: %v, or other bytes", n, err)
		}
		if n%(16<<20) == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	peak := p.Peak(t)
	t.Logf("%d MiB of heap at both ends at most, %d MiB of the gateway", most>>20, peak>>20)
	if most > 128<<20 || peak > 256<<20 {
		t.Errorf("%d bytes of heap at both ends, %d bytes of the gateway", most, peak)
	}
}

// directionKey returns the key with which c seals now.
func directionKey(t *testing.T, c *secret.Conn) []byte {
	t.Helper()
	k := reflect.ValueOf(c).Elem().FieldByName("out").FieldByName("send").FieldByName("state").Elem().FieldByName("k")
	key := make([]byte, k.Len())
	for i := range key {
		key[i] = byte(k.Index(i).Uint())
	}
	if len(key) != 32 || bytes.Equal(key, make([]byte, 32)) {
		t.Fatalf("the key is %s", hex.EncodeToString(key))
	}
	return key
}

// search returns which of some texts are in the memory of a process, which it stops meanwhile.
func search(t *testing.T, pid int, all ...map[string][]byte) map[string]bool {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	const step, overlap = 4 << 20, 128
	buf := make([]byte, step+overlap)
	found := make(map[string]bool)
	var total int64
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue // what cannot be written is the program itself
		}
		for at := from; at < to; at += step {
			n, err := mem.ReadAt(buf[:min(step+overlap, to-at)], at)
			if err != nil && n == 0 {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			total += int64(n)
			for _, texts := range all {
				for what, text := range texts {
					found[what] = found[what] || bytes.Contains(buf[:n], text)
				}
			}
		}
	}
	t.Logf("%d MiB were searched", total>>20)
	return found
}
