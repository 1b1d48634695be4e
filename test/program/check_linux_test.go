//go:build !race

package program

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// checks runs swarmgate --check, without any variables but those of environment, as a user
// without rights.
func checks(t *testing.T, environment []string, args ...string) (status int, printed string) {
	t.Helper()
	a := serverAs(t, nobody, false, "", append([]string{"--check"}, args...)...)
	a.cmd.Env = append([]string{"PATH="}, environment...) // an empty Env would be that of the test
	a.cmd.Stdout = a.log
	_ = a.cmd.Run()
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.cmd.ProcessState.ExitCode(), a.log.text.String()
}

// put writes a file that everybody can read.
func put(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// An operator learned of mistakes one start after the other, and each start ended the gateway that
// ran before. swarmgate --check says all of them, those in the files too, and touches nothing.
func TestCheckSaysAllMistakes(t *testing.T) {
	dir := volume(t, 0, 0o755)
	token := put(t, filepath.Join(dir, "tokens"), "alice zz\n\nbob 12\n")
	cert := put(t, filepath.Join(dir, "cert.pem"), "hello")
	config := put(t, filepath.Join(dir, "swarmgate.yaml"), "listne: :1\nlan: perhaps\ntoken-file: "+token+"\ncert: "+cert+"\nkey: "+dir+"/key.pem\n")
	status, printed := checks(t, []string{"SWARMGATE_MAX_TOPICS=many", "SWARMGATE_CONFIG=" + config, "SWARMGATE_STATIK=x"},
		"--state-dir", volume(t, 0, 0o755), "--memory", "1K", "--jwt-audience", "x")
	for _, want := range []string{
		`unknown option "listne"; did you mean "listen"?`,
		`lan: "perhaps": want true or false`,
		`SWARMGATE_MAX_TOPICS: "many" is not a number`,
		"SWARMGATE_STATIK is not an option; did you mean SWARMGATE_STATIC?",
		`--memory: "1K"`,
		"--jwt-audience needs --jwt-key",
		"tokens: line 1: want a name",
		"line 3: want a name",
		"key.pem: no such file",
		`state file "p2p": the directory is read-only`,
		`state file "reset": the directory is read-only`,
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("no line says %s", want)
		}
	}
	if status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	if t.Failed() {
		t.Logf("it prints:\n%s", printed)
	}
}

// A right configuration has status 0, before the first start (as an init container has it), while
// the gateway runs (before a restart, ExecStartPre), and after it. Nothing changes by that, and no
// port is opened.
func TestCheckOfARightConfiguration(t *testing.T) {
	dir := volume(t, 0, 0o755)
	cert, key, _ := certificate(t, time.Now())
	tokens := put(t, filepath.Join(dir, "tokens"), "# nobody yet\n")
	put(t, filepath.Join(dir, "cert.pem"), string(cert))
	put(t, filepath.Join(dir, "key.pem"), string(key))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, args := range map[string][]string{
		"pinned": {"--state-dir", volume(t, 0, 0o777)},
		"files":  {"--state-dir", volume(t, nobody, 0o770), "--cert", dir + "/cert.pem", "--key", dir + "/key.pem", "--token-file", tokens},
		"deep":   {"--state-dir", volume(t, 0, 0o777) + "/a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			state := args[1]
			if name == "files" {
				if err := os.Chown(state, nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
			right := func(when string) {
				t.Helper()
				status, printed := checks(t, nil, append(args, "--admin", taken.Addr().String(), "--dev-http", taken.Addr().String())...)
				if status != 0 || !strings.Contains(printed, "swarmgate: no mistakes\n") || strings.Contains(printed, "new certificate") {
					t.Errorf("%s: status %d, prints %s", when, status, printed)
				}
				if warned := strings.Contains(printed, "others on this computer can read a key"); warned != (name == "files") {
					t.Errorf("%s: it warns of a key that others can read: %v", when, warned)
				}
			}
			right("before the first start")
			if name == "deep" {
				if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("there is a directory: %v", err)
				}
			} else if got := files(t, state); len(got) > 0 {
				t.Errorf("the state directory has %v, want nothing", got)
			}
			a := serverAs(t, nobody, false, "", args...)
			p := program.StartCommand(t, a.cmd)
			before := files(t, state)
			right("while it runs")
			p.Terminate(t)
			right("after it ran")
			if got := files(t, state); len(got) != len(before) {
				t.Errorf("the state directory has %v, had %v", got, before)
			}
		})
	}
}

// What only this user may not do is a mistake as well.
func TestCheckWithoutRights(t *testing.T) {
	dir := volume(t, 0, 0o755)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"secret: permission denied":        {"--token-file", secret},
		"no permission to write to " + dir: {"--state-dir", dir + "/new"},
		"/new: not a directory":            {"--state-dir", secret + "/new"},
		"secret: not a directory":          {"--state-dir", secret},
	} {
		if status, printed := checks(t, nil, args...); status != 2 || !strings.Contains(printed, want) {
			t.Errorf("%q: status %d, prints %s; want 2 and %s", args, status, printed, want)
		}
	}
}

// The files of --acme are looked at too, and neither its folder is made nor an authority asked.
func TestCheckOfACME(t *testing.T) {
	state := volume(t, 0, 0o777)
	args := []string{
		"--state-dir", state, "--name", "gateway.example", "--acme", "--acme-ca", "https://127.0.0.1:1/",
		"--acme-roots", put(t, filepath.Join(volume(t, 0, 0o755), "roots.pem"), "nothing"),
	}
	if status, printed := checks(t, nil, args...); status != 2 || !strings.Contains(printed, "roots.pem has no certificate in PEM") {
		t.Errorf("bad roots: status %d, prints %s", status, printed)
	}
	if status, printed := checks(t, nil, args[:len(args)-2]...); status != 0 {
		t.Errorf("status %d, prints %s", status, printed)
	}
	if got := files(t, state); len(got) > 0 {
		t.Errorf("the state directory has %v, want nothing", got)
	}
}
