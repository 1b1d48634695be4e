//go:build packages && !race

package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
)

// ociImage is the configuration of an image.
type ociImage struct {
	User       string
	Env        []string
	Entrypoint []string
	Volumes    map[string]any
}

// loadImage makes the image of the release, and unpacks its archive as container engines do: into a
// folder that is the root of containers.
func loadImage(t *testing.T) (root string, config ociImage) {
	t.Helper()
	dist, err := released()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		return out
	}
	run(path(t, "packaging/image/build.sh"), "1.0.0", runtime.GOARCH, dist)
	dir := t.TempDir()
	run("tar", "-C", dir, "-xf", filepath.Join(dist, "swarmgate_1.0.0_image_"+runtime.GOARCH+".tar"))
	read := func(name string, v any) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err := errors.Join(err, json.Unmarshal(b, v)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	read("manifest.json", &manifest)
	named := func(tag string) bool { return strings.HasSuffix(tag, "/swarmgate:1.0.0") }
	if len(manifest) != 1 || !slices.ContainsFunc(manifest[0].RepoTags, named) {
		t.Fatalf("the archive holds %+v", manifest)
	}
	var all struct{ Config ociImage }
	read(manifest[0].Config, &all)
	root = filepath.Join(dir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, layer := range manifest[0].Layers {
		run("tar", "-C", root, "-xpf", filepath.Join(dir, layer))
	}
	return root, all.Config
}

// The image runs the demo as a user without any right, from a root that cannot be written: a client
// elsewhere hears the demo's peer. It ends by itself when it is told to.
func TestImage(t *testing.T) {
	root, image := loadImage(t)
	const state = "/var/lib/swarmgate"
	if _, ok := image.Volumes[state]; !ok || image.User != "65532:65532" {
		t.Fatalf("the image is set up so: %+v", image)
	}
	inside, outside := netns.New(t, "container"), netns.New(t, "client")
	const address = "10.77.0.2"
	netns.Link(t, outside, "10.77.0.1/24", inside, address+"/24")

	// A new volume is a copy of the image's folder.
	bundle := filepath.Dir(root)
	volume := filepath.Join(bundle, "volume")
	if out, err := exec.Command("cp", "-a", filepath.Join(root, state), volume).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	args := append(image.Entrypoint, "--demo", "--no-lan", "--listen", ":4433", "--drain", "1s")
	noRights := map[string][]string{"bounding": {}, "effective": {}, "permitted": {}, "inheritable": {}, "ambient": {}}
	spec := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]int{"uid": 65532, "gid": 65532}, "args": args, "env": image.Env, "cwd": "/",
			"capabilities": noRights, "noNewPrivileges": true,
		},
		"root": map[string]any{"path": "rootfs", "readonly": true},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
			{"destination": state, "type": "bind", "source": volume, "options": []string{"rbind", "rw", "nosuid", "nodev", "noexec"}},
		},
		"linux": map[string]any{
			"namespaces": []map[string]string{
				{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network", "path": "/run/netns/" + inside.Name()},
			},
			"maskedPaths": []string{"/proc/kcore", "/proc/keys"}, "readonlyPaths": []string{"/proc/sys", "/proc/bus"},
		},
	}
	b, err := json.Marshal(spec)
	if err := errors.Join(err, os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644)); err != nil {
		t.Fatal(err)
	}
	runc := func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "runc")}, args...)...)
	}
	name := inside.Name()
	t.Cleanup(func() { runc("delete", "--force", name).Run() })
	p := program.StartCommand(t, runc("run", "--bundle", bundle, name))

	var running struct{ PID int }
	out, err := runc("state", name).Output()
	if err := errors.Join(err, json.Unmarshal(out, &running)); err != nil {
		t.Fatalf("runc state: %v", err)
	}
	proc := filepath.Join("/proc", strconv.Itoa(running.PID))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532\n", "CapBnd:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}
	var mount syscall.Statfs_t
	if err := syscall.Statfs(filepath.Join(proc, "root"), &mount); err != nil || mount.Flags&syscall.MS_RDONLY == 0 {
		t.Errorf("the root can be written: flags %x, %v", mount.Flags, err)
	}
	if _, err := os.Stat(filepath.Join(volume, "pinned.pem")); err != nil {
		t.Errorf("nothing is kept in the volume: %v", err)
	}

	swarm, err := program.BuildSwarm()
	if err != nil {
		t.Fatal(err)
	}
	client := outside.Command(t.Context(), swarm, "join", "swarmgate://"+address+":4433/?h="+p.Certificate.Hashes[0]+"#demo", "--once")
	client.Stdin, client.Stderr = strings.NewReader("hello from outside\n"), t.Output()
	if got, err := client.Output(); err != nil || string(got) != "hello from outside\n" {
		t.Errorf("the client hears %q, %v", got, err)
	}

	if out, err := runc("kill", name, "TERM").CombinedOutput(); err != nil {
		t.Fatalf("runc kill: %v\n%s", err, out)
	}
	gateway.Eventually(t, "the container ends", func() bool {
		_, err := os.Stat(proc)
		return errors.Is(err, os.ErrNotExist)
	})
}
