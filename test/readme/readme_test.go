//go:build !race

package readme

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The page of web/README.md does what is said there, with the gateway that is said there: it shows
// its own greeting, echoed by the demo's peer, and neither page nor browser complains.
func TestReadmePage(t *testing.T) {
	readme, err := os.ReadFile("../../web/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```html\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no page in web/README.md")
	}
	html := string(block[1])
	if n := strings.Count(html, "\n"); n >= 15 {
		t.Errorf("the page has %d lines, want fewer than 15", n)
	}
	const itsGateway, itsOrigin = "http://localhost:8080", "http://localhost:8000"
	if !strings.Contains(html, itsGateway) || !bytes.Contains(readme, []byte("--demo --allow-origin "+itsOrigin)) {
		t.Errorf("the gateway is not at %s and for %s", itsGateway, itsOrigin)
	}
	if log := showsAsPage(t, html, itsGateway, itsOrigin, "dht: hello, peer"); log != "dht: hello, peer\n" {
		t.Errorf("the page shows %q, want one line", log)
	}
}

// The page's code of README.md does what is said there: it prints what the demo's peer sends back.
func TestReadmeSnippet(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```js\n(import .*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md has no code for a page")
	}
	const itsGateway, itsTopic = "https://gateway.example:4433", "'wowcool'"
	code := string(block[1])
	if strings.Count(code, itsGateway) != 2 || !strings.Contains(code, itsTopic) {
		t.Errorf("the gateway of the page is not %s, or its topic not %s", itsGateway, itsTopic)
	}
	html := `<!doctype html><meta charset="utf-8"><pre id="log"></pre><script type="module">
console.log = (...what) => { log.textContent += what.join(' ') + '\n' }
` + strings.ReplaceAll(code, itsTopic, "'demo'") + "</script>"
	log := showsAsPage(t, html, itsGateway, "http://nowhere.example", "hello")
	if !regexp.MustCompile(`^[0-9a-f]+ hello\n$`).MatchString(log) {
		t.Errorf("the page printed %q, want a peer's id and hello", log)
	}
}

// showsAsPage opens html, as it is served by the site origin, in each browser, with a demo as its
// gateway. It returns what its #log has once that has want, and fails if page or browser complain.
func showsAsPage(t *testing.T, html, itsGateway, itsOrigin, want string) (log string) {
	t.Helper()
	var page string // the html, once its gateway is there
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, page)
	}))
	defer site.Close()
	origin := onLocalhost(t, site.Listener.Addr().String())
	p, _ := program.StartDemo(t, "--allow-origin", origin)
	address := strings.TrimPrefix(strings.TrimSuffix(p.Info, wtproto.InfoPath), "http://")
	page = strings.NewReplacer(itsGateway, onLocalhost(t, address), itsOrigin, origin).Replace(html)
	browser.EachPage(t, "blank.html", func(t *testing.T, b *browser.Page) {
		b.Call(t, "goto", map[string]any{"url": origin}, nil)
		b.Call(t, "shows", map[string]any{"selector": "#log", "text": want}, &log)
		var complaints []string
		if b.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("complaints: %q", complaints)
		}
	})
	return log
}

// onLocalhost returns the origin of a site at an address on loopback, by the name localhost.
func onLocalhost(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + net.JoinHostPort("localhost", port)
}

// The four commands of README.md: two gateways of a fleet, and a page in Chromium and one in
// Firefox that meet through them. Ctrl-C ends the fleet and leaves nothing behind.
func TestReadmeFleet(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n## Two gateways, two browsers, one topic\n\n```sh\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md does not show two gateways")
	}
	commands := strings.Split(strings.TrimSpace(string(block[1])), "\n")
	if len(commands) != 4 || !strings.HasPrefix(commands[0], "git clone ") {
		t.Fatalf("the commands are %q, want git clone and three others", commands)
	}
	consoles := startFleet(t, commands[1])
	if len(consoles) != 2 {
		t.Fatalf("the consoles are %q, want two", consoles)
	}
	urls := make([]string, 2)
	for i, command := range commands[2:] {
		m := regexp.MustCompile(`^\w+ '(http://127\.0\.0\.1:\d+)(/#\w+)'`).FindStringSubmatch(command)
		if m == nil {
			t.Fatalf("%q opens no page", command)
		}
		if console := fmt.Sprintf("http://127.0.0.1:%d", 8081+i); m[1] != console {
			t.Errorf("%q does not open %s", command, console)
		}
		urls[i] = consoles[i] + m[2] // the port may be taken on this machine
	}
	if out, err := exec.CommandContext(t.Context(), "node", append([]string{browser.Script(t, "fleet.mjs")}, urls...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// startFleet runs a command that starts a fleet, and returns the consoles that it prints. When the
// test ends it gets Ctrl-C.
func startFleet(t *testing.T, command string) (consoles []string) {
	t.Helper()
	temp := t.TempDir()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does, so that Ctrl-C reaches all of it
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		io.Copy(io.Discard, out)
		cmd.Wait() // make says that it was interrupted
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("Ctrl-C leaves %v, %v", left, err)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := regexp.MustCompile(`^  gateway-\d+ +(http://\S+) `).FindStringSubmatch(lines.Text()); m != nil {
			consoles = append(consoles, m[1])
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C ends all.") {
			return consoles
		}
	}
	t.Fatal("the fleet ended at once")
	return nil
}
