package main

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// said returns the texts in the source of the rooms that say why a peer is not found. Formatted
// values become "…".
func said(t *testing.T) (texts []string) {
	t.Helper()
	verb := regexp.MustCompile(`%[a-z]`)
	for _, room := range []string{"../../discovery", "../../server"} {
		err := filepath.WalkDir(room, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := goparser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if s, err := strconv.Unquote(l.Value); err == nil && strings.Contains(s, " ") {
						texts = append(texts, verb.ReplaceAllString(s, "…"))
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// docs/OPERATING.md says what to do if no peer is found. It quotes the program's own words, and
// has all of these that name an option.
func TestReasonTable(t *testing.T) {
	b, err := os.ReadFile(operating)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	_, table, ok := strings.Cut(doc, "**Nobody is found?**")
	table, _, end := strings.Cut(table, "\n## ")
	if !ok || !end {
		t.Fatal("no table of reasons")
	}
	texts := said(t)
	quoted := regexp.MustCompile("`([^`]+)`")
	var known []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, q := range quoted.FindAllStringSubmatch(cells[1], -1) {
			for part := range strings.SplitSeq(q[1], "…") {
				part = strings.TrimSpace(part)
				if len(part) < 3 {
					continue
				}
				known = append(known, part)
				found := false
				for _, s := range texts {
					found = found || strings.Contains(s, part)
				}
				if !found {
					t.Errorf("the program says %q nowhere", part)
				}
			}
		}
	}
	if len(known) < 30 {
		t.Errorf("%d reasons are in the table: %q", len(known), known)
	}
	option := regexp.MustCompile(`--[a-z][a-z0-9-]+`)
	exists := map[string]bool{"--gateway": true, "--max-peers": true} // of cmd/swarm; the table of options is made from the server's
	for _, m := range regexp.MustCompile("(?m)^\\| `--(\\[no-\\])?([a-z0-9-]+)").FindAllStringSubmatch(doc, -1) {
		exists["--"+m[2]] = true
		if m[1] != "" {
			exists["--no-"+m[2]] = true
		}
	}
	for _, o := range option.FindAllString(table, -1) {
		if !exists[o] {
			t.Errorf("the table names an option that does not exist: %s", o)
		}
	}
	for _, s := range texts {
		options := option.FindAllString(s, -1)
		for _, o := range options {
			if !exists[o] {
				t.Errorf("%q names an option that does not exist: %s", s, o)
			}
		}
		there := len(options) == 0
		for _, k := range known {
			there = there || strings.Contains(s, k)
		}
		if !there {
			t.Errorf("no row for %q", s)
		}
	}
}
