package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

const (
	operating   = "../../docs/OPERATING.md"
	tablesBegin = "<!-- swarm: made from the tags of cmd/swarm by go test ./cmd/swarm -run TestOperating -update -->\n"
	tablesEnd   = "<!-- end of swarm -->\n"
)

var update = flag.Bool("update", false, "write the tables of docs/OPERATING.md")

// tables are what docs/OPERATING.md says of the commands and of the environment.
func tables(k *kong.Kong) string {
	var b strings.Builder
	b.WriteString("\n| command | what it is for |\n|---|---|\n")
	env := make(map[string]*kong.Flag)
	var names []string
	leaves(k.Model.Node, func(n *kong.Node) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", usage(n), n.Help)
		for _, f := range n.Flags {
			for _, name := range f.Envs {
				if env[name] == nil {
					names = append(names, name)
				}
				env[name] = f
			}
		}
	})
	b.WriteString("\n| environment | instead of | |\n|---|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| `%s` | `--%s` | %s |\n", name, env[name].Name, strings.ReplaceAll(env[name].Help, " ($"+name+")", ""))
	}
	b.WriteString("| `NO_COLOR` | | If it is not empty, what people read has no colors. |\n\n")
	return b.String()
}

// usage is a command line with the arguments that there are, such as "swarm send FILE…".
func usage(n *kong.Node) string {
	words := []string{n.FullPath()}
	for _, p := range n.Positional {
		words = append(words, strings.ToUpper(strings.NewReplacer("<", "", ">", "", " ...", "…").Replace(p.Summary())))
	}
	return strings.Join(words, " ")
}

// Whoever reads the handbook finds each command in it, and each variable of the environment.
func TestOperatingTablesAreThoseOfTheProgram(t *testing.T) {
	text, err := os.ReadFile(operating)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), tablesBegin)
	table, after, ended := strings.Cut(rest, tablesEnd)
	if !begun || !ended {
		t.Fatalf("%s has no tables of swarm", operating)
	}
	want := tables(newTestParser(t))
	if *update {
		if err := os.WriteFile(operating, []byte(before+tablesBegin+want+tablesEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the tables of swarm in %s are not those of the program; -update writes them\n%s", operating, want)
	}
}
