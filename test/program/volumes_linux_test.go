//go:build !race

package program

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/test/internal/program"
)

// Users without rights, and the group of a volume (fsGroup of Kubernetes).
const (
	nobody   = 61234
	somebody = 61235
	fsGroup  = 61300
)

// volume returns a new directory of root with a mode, to which every user finds the way.
func volume(t *testing.T, group int, mode fs.FileMode) string {
	t.Helper()
	above, err := os.MkdirTemp("", "volume")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(above) })
	dir := filepath.Join(above, "state")
	if err := errors.Join(os.Chmod(above, 0o755), os.Mkdir(dir, 0o700), os.Chown(dir, 0, group), os.Chmod(dir, mode)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// attempt is a gateway that may start.
type attempt struct {
	cmd *exec.Cmd
	log *logged
}

// serverAs returns the command of a gateway that runs as a user without rights, who is in fsGroup
// too if inGroup says so. For that user dir, if there is one, is on a read-only file system.
func serverAs(t *testing.T, uid uint32, inGroup bool, dir string, args ...string) attempt {
	t.Helper()
	binary, err := program.BuildServer()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "off"}, args...)
	cmd := exec.Command(binary, args...)
	user := &syscall.Credential{Uid: uid, Gid: uid}
	if inGroup {
		user.Groups = []uint32{fsGroup}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	if dir != "" {
		const script = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"`
		id := strconv.Itoa(int(uid))
		change := []string{"-m", "sh", "-c", script, dir, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", binary}
		cmd = exec.Command("unshare", append(change, args...)...)
	}
	log := &logged{t: t}
	cmd.Stderr = log
	return attempt{cmd, log}
}

// refused runs a command that has to fail, and returns what it says.
func refused(t *testing.T, a attempt) string {
	t.Helper()
	if err := a.cmd.Run(); a.cmd.ProcessState == nil || a.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1", err)
	}
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.log.text.String()
}

// sameTwice checks that a gateway that starts twice is the same one.
func sameTwice(t *testing.T, start func() attempt) (last *logged) {
	t.Helper()
	var first *program.Program
	for range 2 {
		a := start()
		p := program.StartCommand(t, a.cmd)
		last = a.log
		if first == nil {
			first = p
		} else if p.P2P.ID != first.P2P.ID || !slices.Equal(p.Certificate.Hashes, first.Certificate.Hashes) {
			t.Errorf("after a restart it is %s with %q, before %s with %q", p.P2P.ID, p.Certificate.Hashes, first.P2P.ID, first.Certificate.Hashes)
		}
		p.Terminate(t)
	}
	return last
}

// files returns the names and modes of the files below dir.
func files(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	found := make(map[string]fs.FileMode)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[strings.TrimPrefix(path, dir+"/")] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A volume of Kubernetes with fsGroup is root's, and the group of the program may write to it.
// When it comes back with the next pod, its files are the group's too, and the next pod may run as
// another user of that group.
func TestStateOnAVolumeOfAGroup(t *testing.T) {
	dir := volume(t, fsGroup, 0o770|fs.ModeSetgid)
	log := sameTwice(t, func() attempt { return serverAs(t, nobody, true, "", "--state-dir", dir) })
	log.has(t, "the group of the state directory can replace its keys")
	before, err := os.ReadFile(filepath.Join(dir, "p2p"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range files(t, dir) {
		if err := errors.Join(os.Chown(filepath.Join(dir, name), -1, fsGroup), os.Chmod(filepath.Join(dir, name), 0o660)); err != nil {
			t.Fatal(err)
		}
	}
	log = sameTwice(t, func() attempt { return serverAs(t, somebody, true, "", "--state-dir", dir) })
	log.hasNot(t, "others on this computer")
	if now, err := os.ReadFile(filepath.Join(dir, "p2p")); err != nil || string(now) != string(before) {
		t.Errorf("the key changed, %v", err)
	}
}

// An emptyDir of Kubernetes, or a tmpfs of Docker, is root's, and everybody may write to it. Such a
// directory was refused: anybody could put keys there. Now the gateway makes one of its own in it.
func TestStateOnAVolumeOfEverybody(t *testing.T) {
	for _, mode := range []fs.FileMode{0o777, 0o777 | fs.ModeSticky, 0o777 | fs.ModeSetgid} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := volume(t, 0, mode)
			forged := make([]byte, 32)
			if err := os.WriteFile(filepath.Join(dir, "p2p"), forged, 0o644); err != nil {
				t.Fatal(err)
			}
			log := sameTwice(t, func() attempt { return serverAs(t, nobody, false, "", "--state-dir", dir) })
			log.has(t, "path="+dir+"/swarmgate")
			found := files(t, dir)
			if got := found["swarmgate"]; got.Perm() != 0o700 {
				t.Errorf("its directory is %v, want 0700", got)
			}
			for name, mode := range found {
				if key, ok := strings.CutPrefix(name, "swarmgate/"); ok && mode != 0o600 {
					t.Errorf("%s is %v, want 0600", key, mode)
				}
			}
			if len(found) != 2+5 {
				t.Errorf("there is %v, want what was there, and the files of a state directory in one", found)
			}
			if said := refused(t, serverAs(t, somebody, false, "", "--state-dir", dir)); !strings.Contains(said, "belongs to another user") {
				t.Errorf("another user is told %s", said)
			}
			if err := errors.Join(os.RemoveAll(dir+"/swarmgate"), os.Symlink("/var", dir+"/swarmgate")); err != nil {
				t.Fatal(err)
			}
			if said := refused(t, serverAs(t, nobody, false, "", "--state-dir", dir)); !strings.Contains(said, "not a directory") {
				t.Errorf("with a link to elsewhere it is told %s", said)
			}
		})
	}
}

// A volume that is mounted read-only, such as a Secret, was refused even if all keys were there.
func TestStateOnAReadOnlyVolume(t *testing.T) {
	source := t.TempDir()
	made := program.Start(t, "--listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "off", "--state-dir", source)
	made.Terminate(t)
	dir := volume(t, 0, 0o777|fs.ModeSticky) // as Kubernetes mounts a Secret
	fill := func(mode fs.FileMode, names ...string) {
		t.Helper()
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(source, name))
			if err == nil {
				err = errors.Join(os.WriteFile(filepath.Join(dir, name), b, mode), os.Chown(filepath.Join(dir, name), nobody, nobody))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	start := func() attempt { return serverAs(t, nobody, false, dir, "--state-dir", dir) }
	fill(0o400, "p2p", "reset", "pinned.pem")
	if said := refused(t, start()); !strings.Contains(said, `"token"`) || !strings.Contains(said, "read-only") {
		t.Errorf("without a key it is told %s", said)
	}
	fill(0o400, "token")
	for range 2 {
		a := start()
		p := program.StartCommand(t, a.cmd)
		if p.P2P.ID != made.P2P.ID || !slices.Equal(p.Certificate.Hashes, made.Certificate.Hashes) {
			t.Errorf("it is %s with %q, want %s with %q", p.P2P.ID, p.Certificate.Hashes, made.P2P.ID, made.Certificate.Hashes)
		}
		a.log.has(t, "the state directory is read-only")
		a.log.hasNot(t, "others on this computer")
		a.log.hasNot(t, "ERROR")
		p.Terminate(t)
	}
	if got := files(t, dir); len(got) != 4 {
		t.Errorf("there is %v, want the four files", got)
	}
}

// The directory of root is read-only for others, too: whoever may read the keys may start.
func TestStateOfAnotherUser(t *testing.T) {
	dir := volume(t, 0, 0o755)
	made := program.Start(t, "--listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "off", "--state-dir", dir)
	made.Terminate(t)
	if said := refused(t, serverAs(t, nobody, true, "", "--state-dir", dir)); !strings.Contains(said, "permission denied") {
		t.Errorf("without rights it is told %s", said)
	}
	for name := range files(t, dir) {
		if err := errors.Join(os.Chown(filepath.Join(dir, name), 0, fsGroup), os.Chmod(filepath.Join(dir, name), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	a := serverAs(t, nobody, true, "", "--state-dir", dir)
	if p := program.StartCommand(t, a.cmd); p.P2P.ID != made.P2P.ID {
		t.Errorf("it is %s, want %s", p.P2P.ID, made.P2P.ID)
	}
}

// Keys that every user of the computer could read were taken without a word.
func TestKeysThatOthersCanRead(t *testing.T) {
	const warning = "others on this computer can read a key"
	dir := volume(t, 0, 0o755)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM, keyPEM, _ := certificate(t, time.Now())
	if err := errors.Join(os.WriteFile(cert, certPEM, 0o644), os.WriteFile(key, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	start := func() *logged {
		t.Helper()
		p, log := startWith(t, nil, "--state-dir", state, "--cert", cert, "--key", key)
		p.Terminate(t)
		return log
	}
	start().hasNot(t, warning)
	for _, path := range []string{key, filepath.Join(state, "p2p")} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log := start()
	log.has(t, warning+`" path=`+key)
	if log.count(warning) != 1 { // nobody else comes into the state directory
		t.Error("a key that nobody else can reach is warned about")
	}
	if err := errors.Join(os.Chmod(key, 0o640), os.Chmod(state, 0o755)); err != nil {
		t.Fatal(err)
	}
	log = start()
	log.has(t, warning+`" path=`+state+"/p2p")
	if log.count(warning) != 1 {
		t.Error("a key that a group may read is warned about")
	}
}
