//go:build !race

package readme

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

const example = "web/examples/hyperdrive"

// The commands of docs/MIGRATING.md, in a terminal each, do what is said there: pages in both
// browsers list the files of a drive of the Dat network, show each byte for byte, and have what
// the peer writes later; also after the peer was restarted and listens on another port.
func TestMigratingCommands(t *testing.T) {
	guide, err := os.ReadFile("../../docs/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n(npm ci --prefix " + example + "\n\\S+/dns-discovery .*?)```").FindSubmatch(guide)
	if block == nil {
		t.Fatal("docs/MIGRATING.md does not start the demo by hand")
	}
	commands := strings.Split(strings.TrimSpace(string(block[1])), "\n")
	if len(commands) != 5 {
		t.Fatalf("the commands are %q, want five", commands)
	}
	const itsDNS, itsOrigin, itsGateway, itsQUIC = "5300", "http://localhost:8000", "127.0.0.1:8080", "127.0.0.1:4433"
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	dns, sitePort, gatewayPort := freePort(t), freePort(t), freePort(t)
	here := strings.NewReplacer(itsDNS, dns, itsOrigin, "http://localhost:"+sitePort, itsGateway, "127.0.0.1:"+gatewayPort,
		itsQUIC, "127.0.0.1:0", "go run ./cmd/server", binary, "site.js", "site.js --port "+sitePort)
	command := func(i int, names string, more ...string) *terminal {
		t.Helper()
		if !strings.HasPrefix(commands[i], names) {
			t.Fatalf("command %d is %q, want %s", i+1, commands[i], names)
		}
		return startTerminal(t, here.Replace(commands[i]), more...)
	}
	storage := filepath.Join(t.TempDir(), "drive")
	command(1, example+"/node_modules/.bin/dns-discovery ").awaits("Server is listening()")
	peer := command(2, "node "+example+"/peer.js ", "--storage", storage)
	drive, port := peer.awaits("^(dat://.*)"), peer.awaits("^port (.*)")
	command(3, "go run ./cmd/server ").awaits(`^\{()`)
	site := command(4, "node "+example+"/site.js").awaits("^(http://.*)/$")
	url := site + "/?gateway=http://127.0.0.1:" + gatewayPort + "#" + drive

	pages := make(map[string]*browser.Page)
	shows := func(selector, text string) {
		t.Helper()
		for name, page := range pages {
			var all string
			if page.Call(t, "shows", map[string]any{"selector": selector, "text": text}, &all); strings.TrimSpace(all) != strings.TrimSpace(text) {
				t.Errorf("%s: %s shows %q, want %q", name, selector, all, text)
			}
		}
	}
	wantList := ""
	files, err := filepath.Glob("../../" + example + "/files/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chromium", "firefox"} {
		pages[name] = browser.Start(t, name, "blank.html")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		wantList += fmt.Sprintf("%s%d B", name, len(data))
		for _, page := range pages {
			page.Call(t, "goto", map[string]any{"url": url + "/" + name}, nil)
		}
		shows("#facts", fmt.Sprintf("%d bytes, SHA-256 %s", len(data), sha(data)))
		if name != "picture.svg" {
			shows("#content", string(data))
		}
	}
	shows("#files", wantList)

	for _, page := range pages {
		page.Call(t, "goto", map[string]any{"url": url + "/news.txt"}, nil)
	}
	news, err := os.ReadFile("../../" + example + "/files/news.txt")
	if err != nil {
		t.Fatal(err)
	}
	peer.types("a line while you look")
	shows("#content", string(news)+"a line while you look")

	peer.end()
	peer = command(2, "node "+example+"/peer.js ", "--storage", storage)
	if got := peer.awaits("^(dat://.*)"); got != drive {
		t.Errorf("after a restart the drive is %s, want %s", got, drive)
	}
	if got := peer.awaits("^port (.*)"); got == port {
		t.Errorf("after a restart the peer listens on port %s again", got)
	}
	peer.types("a line after a restart")
	shows("#content", string(news)+"a line while you look\na line after a restart")
	for name, page := range pages {
		var complaints []string
		if page.Call(t, "complaints", nil, &complaints); len(complaints) > 0 {
			t.Errorf("%s complains: %q", name, complaints)
		}
	}
}

// The code that docs/MIGRATING.md shows of a page is that of pages which tests open.
func TestMigratingSnippets(t *testing.T) {
	guide, err := os.ReadFile("../../docs/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	for start, file := range map[string]string{
		"import hyperdrive ": example + "/page.js",
		"import Hypercore ":  "test/web/hypercorepage.js",
	} {
		page, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile("(?s)```js\n(" + start + ".*?)```").FindSubmatch(guide)
		if block == nil {
			t.Errorf("docs/MIGRATING.md has no code that begins with %q", start)
			continue
		}
		for line := range strings.Lines(string(block[1])) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " //")
			line = strings.ReplaceAll(line, "'http://localhost:8080'", "gateway")
			if !strings.Contains(string(page), line) {
				t.Errorf("%s does not have %q", file, line)
			}
		}
	}
}

// The one command of the demo prints the address of a page that shows the drive, and what is typed
// in its terminal; Ctrl-C ends all that it has started.
func TestHyperdriveDemo(t *testing.T) {
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	demo := startTerminal(t, "node "+example+"/try.js --gateway", binary)
	url := demo.awaits(`Open +(http://.*)`)
	page := browser.Start(t, "chromium", "blank.html")
	page.Call(t, "goto", map[string]any{"url": url + "/news.txt"}, nil)
	page.Call(t, "shows", map[string]any{"selector": "#state", "text": "Live: 1 peer"}, nil)
	demo.types("hello from the terminal")
	page.Call(t, "shows", map[string]any{"selector": "#content", "text": "\nhello from the terminal\n"}, nil)
	demo.end()
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// freePort returns a port of loopback that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(freeport.Ports(t, 1))
}

// terminal is a command that runs in the repository until Ctrl-C or the test's end.
type terminal struct {
	t     *testing.T
	name  string
	in    io.Writer
	lines chan string // closed at the end of its output
	end   func()      // Ctrl-C; it waits for all that runs there, and may be called again
}

// startTerminal runs a command line.
func startTerminal(t *testing.T, line string, more ...string) *terminal {
	t.Helper()
	line = strings.Join(append([]string{line}, more...), " ")
	cmd := exec.Command("sh", "-c", line)
	dir, err := program.Path("")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = dir
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does, so that Ctrl-C reaches all of it
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, name: line, in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(term.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			term.lines <- s.Text()
		}
	}()
	term.end = func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		for range term.lines { // until nobody has the other end of the pipe
		}
		cmd.Wait()
	}
	t.Cleanup(term.end)
	return term
}

// awaits returns the group of the first line that matches, and drops those before.
func (term *terminal) awaits(pattern string) string {
	term.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-term.lines:
			if !ok {
				term.t.Fatalf("%s ended without %q", term.name, pattern)
			}
			if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
				return m[1]
			}
		case <-late:
			term.t.Fatalf("%s does not print %q", term.name, pattern)
		}
	}
}

// types writes a line.
func (term *terminal) types(line string) {
	term.t.Helper()
	if _, err := io.WriteString(term.in, line+"\n"); err != nil {
		term.t.Fatalf("%s: %v", term.name, err)
	}
}
