package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// leaves calls f for each command that has no commands below it.
func leaves(n *kong.Node, f func(*kong.Node)) {
	for _, c := range n.Children {
		leaves(c, f)
	}
	if len(n.Children) == 0 {
		f(n)
	}
}

func newTestParser(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := newParser(&commands{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Each command has examples, and each of them is a command line of that command.
func TestHelpHasExamples(t *testing.T) {
	t.Setenv("SWARMGATE_GATEWAY", "https://gateway.example:4433")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("room.txt", []byte("a long text that both know\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	leaves(newTestParser(t).Model.Node, func(n *kong.Node) {
		_, text, _ := strings.Cut(n.Detail, "Examples:\n\n")
		if text == "" {
			t.Errorf("%s has no examples", n.FullPath())
		}
		for line := range strings.Lines(text) {
			args := strings.Fields(line[strings.LastIndex(line, "swarm ")+len("swarm "):])
			if i := slices.Index(args, "<"); i >= 0 {
				args = args[:i]
			}
			args[len(args)-1] = strings.TrimSuffix(args[len(args)-1], ")")
			parsed, err := newTestParser(t).Parse(args)
			if err != nil || parsed.Selected().FullPath() != n.FullPath() {
				t.Errorf("%s: %v: an example of %s", strings.TrimSpace(line), err, n.FullPath())
			}
		}
	})
}

// shell makes a home directory in which the program is called swarm, and returns it with its
// environment.
func shell(t *testing.T) (home string, env []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home = t.TempDir()
	if err := os.Symlink(self, filepath.Join(home, "swarm")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a file.bin", "other"} {
		if err := os.WriteFile(filepath.Join(home, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return home, append(os.Environ(), asProgram+"=1", "HOME="+home, "ZDOTDIR="+home, "TERM=dumb", "PS1=> ",
		"PATH="+home+":"+os.Getenv("PATH"), "SWARMGATE_GATEWAY=")
}

// What the program prints for a shell works there: a person types a part of each line, Tab, and
// the rest.
func TestShellsComplete(t *testing.T) {
	for _, c := range []struct{ name, init, start, options string }{
		{"bash", ".bashrc", "bash --noprofile --rcfile .bashrc -i", ""},
		{"zsh", ".zshrc", "zsh -i", "autoload -U compinit && compinit -u\nunsetopt PROMPT_SP\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			home, env := shell(t)
			rc := c.options + "source <(swarm completion -c " + c.name + ")\nswarm() { printf '<%s>' \"$@\" > said; }\n"
			if err := os.WriteFile(filepath.Join(home, c.init), []byte(rc), 0o666); err != nil {
				t.Fatal(err)
			}
			for _, line := range []struct{ keys, want string }{
				{"swarm sta\t--rec\t", "<status><--reconnect>"},
				{"swarm tok\ts\t--key-\tid", "<token><sign><--key-id><id>"},
				{"swarm receive 7-tuli\t", "<receive><7-tulip>"},
				{"swarm join oth\t", "<join><oth>"},
				{"swarm send a\t--code", "<send><a file.bin><--code>"},
				{"swarm peer --dht pr\t", "<peer><--dht><private>"},
			} {
				said := filepath.Join(home, "said")
				os.Remove(said)
				cmd := exec.Command("script", "-qefc", c.start, "/dev/null") // a terminal
				cmd.Dir, cmd.Env = home, env
				cmd.Stdin = strings.NewReader(line.keys + "\nexit\n")
				out, err := cmd.CombinedOutput()
				if got, _ := os.ReadFile(said); string(got) != line.want {
					t.Errorf("%q: %s, want %s (%v)\n%s", line.keys, got, line.want, err, out)
				}
			}
		})
	}
	t.Run("fish", func(t *testing.T) {
		t.Parallel()
		home, env := shell(t)
		for _, line := range []struct{ typed, want string }{
			{"swarm sta", "status\n"},
			{"swarm send --co", "--code\n"},
			{"swarm send oth", "other\n"},
			{"swarm receive 7-tuli", "7-tulip\n"},
			{"swarm peer --dht-serve al", "always\n"},
		} {
			cmd := exec.Command("fish", "--no-config", "-c", "swarm completion -c fish | source; complete -C '"+line.typed+"'")
			cmd.Dir, cmd.Env = home, env
			if got, err := cmd.Output(); err != nil || string(got) != line.want {
				t.Errorf("%q: %q, %v; want %q", line.typed, got, err, line.want)
			}
		}
	})
}
