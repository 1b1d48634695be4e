//go:build !race

package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// installed makes a home directory with both programs in a folder of PATH, as a package has them.
// They complete and print their manual; else they write their arguments into the file said.
func installed(t *testing.T) (home string, env []string) {
	t.Helper()
	home = t.TempDir()
	for name, build := range map[string]func() (string, error){"swarmgate": program.BuildServer, "swarm": program.BuildSwarm} {
		binary, err := build()
		if err == nil {
			text := "#!/bin/sh\n[ -z \"$COMP_LINE\" ] && [ \"$1\" != --man ] && printf %s \"$*\" >said && exit\nexec " + binary + " \"$@\"\n"
			err = os.WriteFile(filepath.Join(home, name), []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return home, append(os.Environ(), "HOME="+home, "ZDOTDIR="+home, "TERM=dumb", "PS1=> ", "PATH="+home+":"+os.Getenv("PATH"), "SWARMGATE_GATEWAY=")
}

func path(t *testing.T, name string) string {
	t.Helper()
	p, err := program.Path(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The completions of the packages work in each shell: a person types a part of a line and Tab.
func TestCompletions(t *testing.T) {
	lines := []struct{ typed, want string }{
		{"swarm sta", "status"},
		{"swarm peer --dht pr", "private"},
		{"swarmgate --show-a", "--show-addresses"},
		{"swarmgate --no-l", "--no-lan"},
		{"swarmgate --dht-serve al", "always"},
	}
	files := path(t, "packaging/completions")
	for _, c := range []struct{ shell, init, start, rc string }{
		{"bash", ".bashrc", "bash --noprofile --rcfile .bashrc -i", "for f in " + files + "/*.bash; do source $f; done\n"},
		{"zsh", ".zshrc", "zsh -i", "fpath=(" + files + " $fpath)\nautoload -U compinit && compinit -u\nunsetopt PROMPT_SP\n"},
	} {
		t.Run(c.shell, func(t *testing.T) {
			t.Parallel()
			home, env := installed(t)
			if err := os.WriteFile(filepath.Join(home, c.init), []byte(c.rc), 0o666); err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				said := filepath.Join(home, "said")
				os.Remove(said)
				cmd := exec.Command("script", "-qefc", c.start, "/dev/null") // a terminal
				cmd.Dir, cmd.Env = home, env
				cmd.Stdin = strings.NewReader(line.typed + "\t\nexit\n")
				out, err := cmd.CombinedOutput()
				words := strings.Fields(line.typed)
				want := strings.Join(append(words[1:len(words)-1], line.want), " ")
				if got, _ := os.ReadFile(said); string(got) != want {
					t.Errorf("%q: %q, want %q (%v)\n%s", line.typed, got, want, err, out)
				}
			}
		})
	}
	t.Run("fish", func(t *testing.T) {
		t.Parallel()
		home, env := installed(t)
		for _, line := range lines {
			name, _, _ := strings.Cut(line.typed, " ")
			cmd := exec.Command("fish", "--no-config", "-c", "source "+files+"/"+name+".fish; complete -C '"+line.typed+"'")
			cmd.Dir, cmd.Env = home, env
			if got, err := cmd.Output(); err != nil || string(got) != line.want+"\n" {
				t.Errorf("%q: %q, %v; want %q", line.typed, got, err, line.want)
			}
		}
	})
}

// The manual pages are such that groff has nothing to say of them, and have each flag and command.
func TestManuals(t *testing.T) {
	home, env := installed(t)
	for name, want := range map[string][]string{
		"swarmgate": {"SWARMGATE(8)", "--listen ADDR", "SWARMGATE_LISTEN", "--[no-]lan", "EXIT STATUS"},
		"swarm":     {"SWARM(1)", "swarm send [option ...] FILE…", "--secret-file FILE", "swarm token new"},
	} {
		cmd := exec.Command(filepath.Join(home, name), "--man")
		cmd.Env = env
		page, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		groff := exec.Command("groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=200n")
		groff.Stdin = bytes.NewReader(page)
		var complaints bytes.Buffer
		groff.Stderr = &complaints
		text, err := groff.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%s: groff: %v\n%s", name, err, complaints.Bytes())
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("the manual of %s does not say %q", name, w)
			}
		}
	}
}
