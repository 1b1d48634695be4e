package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// operating is the operators' handbook, with the table of options between these two lines.
const (
	operating  = "../../docs/OPERATING.md"
	tableBegin = "<!-- options: made from the tags of cmd/server/config.go by go test ./cmd/server -run TestOperatingTable -update -->\n"
	tableEnd   = "<!-- end of options -->\n"
)

var update = flag.Bool("update", false, "write the table of options into docs/OPERATING.md")

// model returns the flags of the program that its help shows.
func model(t *testing.T) []*kong.Flag {
	t.Helper()
	k, err := (&parser{}).kong(&options{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(k.Model.Flags, func(f *kong.Flag) bool { return f.Hidden })
}

// optionTable is what docs/OPERATING.md says of the flags.
func optionTable(flags []*kong.Flag) string {
	var b strings.Builder
	group := ""
	for _, f := range flags {
		if f.Name == "help" {
			continue
		}
		if f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&b, "\n### %s\n\n| flag | environment | YAML | default | |\n|---|---|---|---|---|\n", group)
		}
		name, key, env, value := "--"+f.Name, f.Name, strings.Join(f.Envs, " "), f.Default
		if f.Tag.Negatable != "" {
			name = "--[no-]" + f.Name
		}
		if !f.IsBool() {
			name += " " + f.PlaceHolder
		} else if value == "" {
			value = "false"
		}
		if f.IsSlice() {
			name += " …"
		}
		if len(f.Envs) == 0 || f.Name == "config" {
			key = ""
		}
		if len(f.Envs) == 0 {
			value = ""
		}
		cells := []string{name, env, key, value}
		for i, c := range cells {
			if c != "" {
				cells[i] = "`" + c + "`"
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(cells, " | "), strings.ReplaceAll(f.Help, "|", `\|`))
	}
	return b.String() + "\n"
}

func TestOperatingTableIsThatOfTheProgram(t *testing.T) {
	text, err := os.ReadFile(operating)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), tableBegin)
	table, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s has no table of options", operating)
	}
	want := optionTable(model(t))
	if *update {
		if err := os.WriteFile(operating, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for line := range strings.Lines(want) {
		if !strings.Contains(table, line) {
			t.Errorf("missing: %s", line)
		}
	}
	if table != want {
		t.Errorf("the table in %s is not that of the program; -update writes it", operating)
	}
}

// An operator who writes a file or an environment has the handbook, not the source: each option
// has a place in all three.
func TestEveryOptionCanBeGivenInEveryPlace(t *testing.T) {
	for _, f := range model(t) {
		switch f.Name {
		case "help", "version", "check":
			continue
		}
		want := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if len(f.Envs) != 1 || f.Envs[0] != want {
			t.Errorf("--%s has the variables %q, want %s", f.Name, f.Envs, want)
		}
		if f.Help == "" || f.Group == nil || !f.IsBool() && f.PlaceHolder == "" {
			t.Errorf("--%s has no help, group or placeholder", f.Name)
		}
	}
}
