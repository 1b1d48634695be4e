// Command release makes what a release consists of, in a folder of its own: an archive for each
// platform, Debian packages, the npm package, and SHA256SUMS. "make release VERSION=1.2.3" calls
// it.
//
// The same source and version make the same bytes, wherever and whenever: nothing of the machine,
// the folder or the day is in them. "make release-check" makes a release twice and compares.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sbomTool lists the modules that a binary was built from, and Go's library.
const sbomTool = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

// platform is where a release runs.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are all of them.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

// programs are the binaries: their names, packages, and sections of the manual.
var programs = []struct {
	name, pkg string
	section   int
}{{"swarmgate", "./cmd/server", 8}, {"swarm", "./cmd/swarm", 1}}

// documents are the files that each archive has as they are: what operators read, and what OPERATING
// has them put elsewhere.
var documents = []string{
	"LICENSE", "README.md", "CHANGELOG.md", "docs/OPERATING.md",
	"deploy/systemd/swarmgate.service", "deploy/systemd/swarmgate.socket", "deploy/systemd/swarmgate.yaml",
	"deploy/compose.yaml", "deploy/kubernetes.yaml", "deploy/proxy/haproxy.cfg", "deploy/proxy/nginx.conf", "deploy/fleet/nginx.conf",
	"deploy/swarmgate.rules.yml", "deploy/grafana-dashboard.json",
}

// release is one being made.
type release struct {
	version string // such as 1.2.3
	out     string // the folder for what is to be published
	tmp     string
	modTime time.Time // of all files in archives
}

func main() {
	version := flag.String("version", "", "such as 1.2.3 or v1.2.3-rc.1")
	out := flag.String("out", "dist", "the folder to write to; it is emptied")
	only := flag.String("only", "", "comma separated platforms such as linux/amd64; without it all")
	flag.Parse()
	if err := run(*version, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

var versions = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?)$`)

// run makes a release of the folder that it runs in.
func run(version, out, only string) error {
	m := versions.FindStringSubmatch(version)
	if m == nil {
		return fmt.Errorf("version %q: want 1.2.3 or 1.2.3-rc.1", version)
	}
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	modTime, err := sourceTime()
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "swarmgate-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	r := &release{version: m[1], out: out, tmp: tmp, modTime: modTime}
	if err := r.manuals(); err != nil {
		return err
	}
	for _, p := range wanted {
		if err := r.platform(p); err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	if err := r.npm(); err != nil {
		return fmt.Errorf("npm: %w", err)
	}
	return checksums(out)
}

// choose returns the platforms of a list such as "linux/amd64,linux/arm64", or all of them without
// one.
func choose(list string) ([]platform, error) {
	if list == "" {
		return platforms, nil
	}
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(platforms, func(p platform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("platform %q: want one of %v", name, platforms)
		}
		chosen = append(chosen, platforms[i])
	}
	return chosen, nil
}

// sourceTime is when the source was last changed: SOURCE_DATE_EPOCH, else the time of the commit.
func sourceTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		b, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("git log (without git, set SOURCE_DATE_EPOCH): %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	s, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(s, 0).UTC(), err
}

// manual returns where the manual page of a program is.
func (r *release) manual(name string, section int) string {
	return filepath.Join(r.tmp, fmt.Sprintf("%s.%d", name, section))
}

// manuals writes the manual pages.
func (r *release) manuals() error {
	for _, p := range programs {
		page, err := r.output(nil, "go", "run", "-ldflags", "-X main.released=v"+r.version, p.pkg, "--man")
		if err != nil {
			return err
		}
		if err := os.WriteFile(r.manual(p.name, p.section), page, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// platform makes an archive, and for Linux the Debian packages.
func (r *release) platform(p platform) error {
	dir := filepath.Join(r.tmp, p.os+"-"+p.arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	suffix := ""
	if p.os == "windows" {
		suffix = ".exe"
	}
	var files []file
	for _, prog := range programs {
		binary, sbom := filepath.Join(dir, prog.name+suffix), filepath.Join(dir, prog.name+".cdx.json")
		env := []string{"GOOS=" + p.os, "GOARCH=" + p.arch, "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0"}
		if _, err := r.output(env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.released=v"+r.version, "-o", binary, prog.pkg); err != nil {
			return err
		}
		if _, err := r.output(nil, "go", "run", sbomTool, "bin", "-std", "-json", "-noserial", "-notimestamp", "-version", "v"+r.version, "-output", sbom, binary); err != nil {
			return err
		}
		if err := forgetTool(sbom); err != nil {
			return err
		}
		files = append(files, file{prog.name + suffix, binary, 0o755}, file{"sbom/" + filepath.Base(sbom), sbom, 0o644},
			file{fmt.Sprintf("man/%s.%d", prog.name, prog.section), r.manual(prog.name, prog.section), 0o644})
		for _, c := range []string{prog.name + ".bash", prog.name + ".fish", "_" + prog.name} {
			files = append(files, file{"completions/" + c, filepath.Join("packaging", "completions", c), 0o644})
		}
	}
	for _, doc := range documents {
		files = append(files, file{doc, doc, 0o644})
	}
	name := fmt.Sprintf("swarmgate_%s_%s_%s", r.version, p.os, p.arch)
	if p.os == "windows" {
		return writeZip(filepath.Join(r.out, name+".zip"), name, files, r.modTime)
	}
	if err := writeTar(filepath.Join(r.out, name+".tar.gz"), name, files, r.modTime); err != nil {
		return err
	}
	if p.os != "linux" {
		return nil
	}
	return r.debs(p, dir)
}

// forgetTool takes out of a list of modules the hashes of the program that made it: that program was
// built on this machine, and differs from that of another one.
func forgetTool(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var list struct {
		Metadata struct {
			Tools []map[string]any `json:"tools"`
		} `json:"metadata"`
	}
	var all map[string]any
	if err := errors.Join(json.Unmarshal(b, &all), json.Unmarshal(b, &list)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, tool := range list.Metadata.Tools {
		delete(tool, "hashes")
	}
	if metadata, ok := all["metadata"].(map[string]any); ok {
		metadata["tools"] = list.Metadata.Tools
	}
	if b, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

// debs makes the Debian packages of a platform, whose binaries are in dir.
func (r *release) debs(p platform, dir string) error {
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.modTime.Unix(), 10)}
	_, err := r.output(env, "packaging/deb/build.sh", r.version, p.arch, dir, r.tmp, r.out)
	return err
}

// What a release changes in the npm package: its version, and in the README which versions pages take
// from a CDN.
var (
	packageVersion = regexp.MustCompile(`"version": "[^"]*"`)
	cdnVersion     = regexp.MustCompile(`/npm/swarmgate@\d+/`)
)

// ofVersion returns what a file of web/ is in the npm package.
func (r *release) ofVersion(name string, b []byte) []byte {
	switch name {
	case "package.json":
		return packageVersion.ReplaceAll(b, fmt.Appendf(nil, `"version": "%s"`, r.version))
	case "README.md":
		major, _, _ := strings.Cut(r.version, ".")
		return cdnVersion.ReplaceAll(b, fmt.Appendf(nil, "/npm/swarmgate@%s/", major))
	}
	return b
}

// npm packs web/ with the version of the release. What the package holds is committed, so that it
// needs no build.
func (r *release) npm() error {
	dir := filepath.Join(r.tmp, "npm")
	for _, name := range []string{"dist", "discovery-swarm"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("web", name))); err != nil {
			return err
		}
	}
	for _, name := range []string{"package.json", "README.md", "LICENSE"} {
		b, err := os.ReadFile(filepath.Join("web", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), r.ofVersion(name, b), 0o644); err != nil {
			return err
		}
	}
	// npm packs modes as they are on disk, where a umask may have changed them.
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o644)
	})
	if err != nil {
		return err
	}
	_, err = r.output(nil, "npm", "pack", dir, "--ignore-scripts", "--pack-destination", r.out)
	return err
}

// output runs a command and returns what it prints. Its error holds what it says on stderr.
func (r *release) output(env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, complaints.Bytes())
	}
	return out, nil
}
