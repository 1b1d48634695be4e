//go:build !race

package test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// chromium is a page in headless Chromium that speaks the protocol by hand: test/browser/page.html.
type chromium struct {
	origin string
	in     io.Writer
	out    *bufio.Scanner
}

func startChromium(t *testing.T) *chromium {
	t.Helper()
	if _, err := os.Stat("browser/node_modules"); err != nil {
		t.Fatalf("the browser's driver is not installed: run test/deps.sh (%v)", err)
	}
	cmd := exec.Command("node", "browser/drive.mjs") // not of the test's context, which ends before the browser is closed
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // the driver closes its browser
		cmd.Wait()
	})
	c := &chromium{in: in, out: bufio.NewScanner(out)}
	var ready struct{ Origin string }
	c.read(t, &ready)
	c.origin = ready.Origin
	return c
}

func (c *chromium) read(t *testing.T, v any) {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the browser's driver ended: %v", c.out.Err())
	}
	if err := json.Unmarshal(c.out.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", c.out.Bytes(), err)
	}
}

// call calls a function of the page and reads its result into v.
func (c *chromium) call(t *testing.T, name string, args map[string]any, v any) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"call": name, "args": args})
	if err != nil {
		t.Fatal(err)
	}
	c.in.Write(append(b, '\n'))
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	c.read(t, &answer)
	if answer.Error != "" {
		t.Fatalf("%s: %s", name, answer.Error)
	}
	if err := json.Unmarshal(answer.Result, v); err != nil {
		t.Fatal(err)
	}
}

// A page of a few dozen lines, written from the protocol's document, joins, gets a circuit that the gateway opened and one that
// it was offered, and echoes 8 MiB on each; and it learns the code and the reason with which a gateway ends its session.
func TestChromium(t *testing.T) {
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{8}).Read(data)
	want := sha256.Sum256(data)
	echoed := make(chan [32]byte, 2)
	peer := gateway.Listen(t, func(c *net.TCPConn) {
		go func() {
			c.Write(data)
			c.CloseWrite()
		}()
		var got bytes.Buffer
		io.Copy(&got, c)
		echoed <- sha256.Sum256(got.Bytes())
	})
	topic := wtproto.TopicFromName("page")
	page := startChromium(t)
	g := gateway.Start(t, server.Config{
		Origins:  []string{page.origin},
		Networks: []discovery.Network{gateway.Static(t, topic, peer.Addr().String())},
	})
	args := func(more map[string]any) map[string]any {
		more["url"] = g.URL + wtproto.Path
		more["hash"] = hex.EncodeToString(g.Hash[:])
		return more
	}
	for how, flags := range map[string]wtproto.JoinFlags{
		"opened":  wtproto.JoinLookUp,
		"offered": wtproto.JoinLookUp | wtproto.JoinOfferOnly,
	} {
		var got struct {
			How    string
			Echoed int
		}
		page.call(t, "run", args(map[string]any{"topic": topic.String(), "flags": flags}), &got)
		if got.How != how || got.Echoed != len(data) {
			t.Errorf("the page got %+v, want %s and %d bytes", got, how, len(data))
		}
		if sum := <-echoed; sum != want {
			t.Errorf("%s: the echo has another checksum", how)
		}
	}
	var closed struct {
		CloseCode wtproto.Code
		Reason    string
	}
	frame := wtproto.Join{Topic: topic}.Append(nil)
	page.call(t, "closed", args(map[string]any{"frame": hex.EncodeToString(frame)}), &closed)
	if closed.CloseCode != wtproto.CodeProtocol || closed.Reason == "" {
		t.Errorf("the page saw %+v, want PROTOCOL and a reason", closed)
	}
}
