package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The same files make the same archives, whatever their order, time and mode on disk, and nothing
// of the machine is in them.
func TestArchivesAreReproducible(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	made := func(mode os.FileMode, age time.Duration, order func([]file)) (all [][]byte) {
		dir := t.TempDir()
		files := []file{{"tool", filepath.Join(dir, "a"), 0o755}, {"man/tool.1", filepath.Join(dir, "b"), 0o644}, {"LICENSE", filepath.Join(dir, "c"), 0o644}}
		for _, f := range files {
			err := os.WriteFile(f.from, []byte("contents of "+f.name), mode)
			then := time.Now().Add(-age)
			if err := errors.Join(err, os.Chtimes(f.from, then, then)); err != nil {
				t.Fatal(err)
			}
		}
		order(files)
		gz, z := filepath.Join(dir, "out.tar.gz"), filepath.Join(dir, "out.zip")
		if err := errors.Join(writeTar(gz, "tool-1", files, at), writeZip(z, "tool-1", files, at)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{gz, z} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
		return all
	}
	one, two := made(0o644, 0, func([]file) {}), made(0o600, time.Hour, slices.Reverse[[]file])
	for i, kind := range []string{"tar.gz", "zip"} {
		if !bytes.Equal(one[i], two[i]) {
			t.Errorf("%s: two archives of the same files differ", kind)
		}
	}

	gz, err := gzip.NewReader(bytes.NewReader(one[0]))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "root" || !h.ModTime.Equal(at) || h.Mode != map[bool]int64{true: 0o755, false: 0o644}[h.Name == "tool-1/tool"] {
			t.Errorf("the archive says %+v", h)
		}
		names = append(names, h.Name)
	}
	z, err := zip.NewReader(bytes.NewReader(one[1]), int64(len(one[1])))
	if err != nil {
		t.Fatal(err)
	}
	var zipped []string
	for _, f := range z.File {
		zipped = append(zipped, f.Name)
	}
	want := []string{"tool-1/LICENSE", "tool-1/man/tool.1", "tool-1/tool"}
	if !slices.Equal(names, want) || !slices.Equal(zipped, want) {
		t.Errorf("the archives hold %q and %q, want %q", names, zipped, want)
	}
}

// sha256sum reads what a release says of its files, and notices a change.
func TestChecksums(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.zip", "a.deb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := checksums(dir); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		cmd := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
		cmd.Dir = dir
		return cmd.Run()
	}
	if err := check(); err != nil {
		t.Errorf("the sums are not those of the files: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.deb"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if check() == nil {
		t.Error("a changed file has the sum of another")
	}
}

func TestVersions(t *testing.T) {
	for in, want := range map[string]string{"1.2.3": "1.2.3", "v1.2.3": "1.2.3", "v1.2.3-rc.1": "1.2.3-rc.1", "": "", "1.2": "", "latest": "", "1.2.3 ": "", "1.2.3-": ""} {
		got := ""
		if m := versions.FindStringSubmatch(in); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("version %q is %q, want %q", in, got, want)
		}
	}
}

// The list of modules had the hashes of the program that wrote it, which each machine builds anew.
// So a release was equal only to those of the same machine.
func TestForgetTool(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sbom.json")
	const made = `{"version":1,"metadata":{"tools":[{"name":"gomod","version":"v1","hashes":[{"alg":"MD5","content":"00"}]}],"component":{"name":"swarm"}},
"components":[{"name":"m","hashes":[{"alg":"SHA-256","content":"11"}]}]}`
	want := map[string]any{
		"version":    1.0,
		"metadata":   map[string]any{"tools": []any{map[string]any{"name": "gomod", "version": "v1"}}, "component": map[string]any{"name": "swarm"}},
		"components": []any{map[string]any{"name": "m", "hashes": []any{map[string]any{"alg": "SHA-256", "content": "11"}}}},
	}
	if err := errors.Join(os.WriteFile(name, []byte(made), 0o644), forgetTool(name)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	var got map[string]any
	if err := errors.Join(err, json.Unmarshal(b, &got)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// A platform that was misspelt made a release without archives, and "make release-check" found that
// two of these were equal.
func TestPlatforms(t *testing.T) {
	for list, want := range map[string]int{"": len(platforms), "linux/amd64": 1, "linux/amd64,darwin/arm64": 2, "linux/amd46": 0, "linux/amd64,": 0, "linux": 0} {
		if got, err := choose(list); len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v, want %d of them", list, got, err, want)
		}
	}
}

// OPERATING sent operators who have an archive to files that only the source had. The fleet for
// Docker is built from the source.
func TestArchivesHoldWhatOperatorsNeed(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, doc := range documents {
		if _, err := os.Stat(filepath.Join(root, doc)); err != nil {
			t.Error(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "docs", "OPERATING.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(\.\./(deploy/[^)#]+)`).FindAllStringSubmatch(string(b), -1)
	if len(links) == 0 {
		t.Fatal("OPERATING names no files of deploy/")
	}
	for _, m := range links {
		name := m[1]
		held := func(doc string) bool { return doc == name || strings.HasPrefix(doc, name+"/") }
		if name != "deploy/fleet/compose.yaml" && !slices.ContainsFunc(documents, held) {
			t.Errorf("an archive lacks %s, to which OPERATING leads", name)
		}
	}
}

// The npm package of version 0.1.0 told pages to take version 1 from a CDN, which there is not.
func TestPackageIsOfItsVersion(t *testing.T) {
	r := &release{version: "0.1.0-rc.1"}
	for name, want := range map[string]string{"package.json": `"version": "0.1.0-rc.1",`, "README.md": "https://cdn.jsdelivr.net/npm/swarmgate@0/dist/swarmgate.js"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "web", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.ofVersion(name, b)); !strings.Contains(got, want) || cdnVersion.FindString(strings.ReplaceAll(got, "@0/", "")) != "" {
			t.Errorf("%s does not say %s alone", name, want)
		}
	}
}
