package certs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func openState(t *testing.T, path string) *StateDir {
	t.Helper()
	d, err := OpenStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// bothStates runs f with a directory and in memory.
func bothStates(t *testing.T, f func(t *testing.T, d *StateDir)) {
	t.Run("directory", func(t *testing.T) { f(t, openState(t, filepath.Join(t.TempDir(), "a", "b"))) })
	t.Run("memory", func(t *testing.T) { f(t, openState(t, "")) })
}

func TestStateReadWrite(t *testing.T) {
	bothStates(t, func(t *testing.T, d *StateDir) {
		if data, err := d.Read("x"); data != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read of nothing = %q, %v; want %v", data, err, fs.ErrNotExist)
		}
		for _, want := range []string{"long content", "short", ""} {
			in := []byte(want)
			if err := d.Write("x", in); err != nil {
				t.Fatal(err)
			}
			clear(in) // it is the caller's
			got, err := d.Read("x")
			if err != nil || string(got) != want {
				t.Errorf("Read = %q, %v; want %q", got, err, want)
			}
			clear(got) // so is that
			if got, err := d.Read("x"); err != nil || string(got) != want {
				t.Errorf("second Read = %q, %v; want %q", got, err, want)
			}
		}
	})
}

func TestStateNames(t *testing.T) {
	bothStates(t, func(t *testing.T, d *StateDir) {
		for _, name := range []string{"", ".", "..", lockName, ".new-x", "../x", "a/b", "/x", "x/"} {
			_, readErr := d.Read(name)
			_, keyErr := d.Key(name, 1)
			for _, err := range []error{readErr, keyErr, d.Write(name, nil)} {
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("name %q: %v, want that it is refused", name, err)
				}
			}
		}
	})
}

func TestStateKey(t *testing.T) {
	bothStates(t, func(t *testing.T, d *StateDir) {
		key, err := d.Key("reset.key", 32)
		if err != nil || len(key) != 32 || bytes.Equal(key, make([]byte, 32)) {
			t.Fatalf("Key = %x, %v", key, err)
		}
		if again, err := d.Key("reset.key", 32); err != nil || !bytes.Equal(again, key) {
			t.Errorf("second Key = %x, %v; want %x", again, err, key)
		}
		if other, err := d.Key("token.key", 32); err != nil || bytes.Equal(other, key) {
			t.Errorf("other Key = %x, %v; want another than %x", other, err, key)
		}
		if _, err := d.Key("reset.key", 16); err == nil || !strings.Contains(err.Error(), "has 32 bytes, want 16") {
			t.Errorf("Key of another size: %v", err)
		}
	})
}

func TestStateClosed(t *testing.T) {
	bothStates(t, func(t *testing.T, d *StateDir) {
		if err := d.Write("x", nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := d.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
		_, readErr := d.Read("x")
		_, keyErr := d.Key("y", 8)
		for _, err := range []error{readErr, keyErr, d.Write("x", nil)} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("after Close: %v, want %v", err, fs.ErrClosed)
			}
		}
	})
}

func TestStateOutlivesClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	d := openState(t, dir)
	key, err := d.Key("k", 16)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if again, err := openState(t, dir).Key("k", 16); err != nil || !bytes.Equal(again, key) {
		t.Errorf("Key = %x, %v; want %x", again, err, key)
	}
}

func TestStateLock(t *testing.T) {
	dir := t.TempDir()
	d := openState(t, dir)
	if d, err := OpenStateDir(dir); d != nil || !errors.Is(err, errInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second OpenStateDir = %v, %v; want %v that names %s", d, err, errInUse, dir)
	}
	d.Close()
	openState(t, dir)
	openState(t, "") // memory is never in use
	openState(t, "")
}

// What is made is for its user alone. A directory that was there keeps its mode: --state-dir /etc
// once took /etc from everybody.
func TestStateModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such modes
	}
	mode := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	for _, existing := range []fs.FileMode{0, 0o700, 0o755, 0o770, 0o775 | fs.ModeSetgid} {
		dir := filepath.Join(t.TempDir(), "state")
		if existing != 0 {
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, existing)); err != nil {
				t.Fatal(err)
			}
		}
		d := openState(t, dir)
		want := existing.Perm()
		if existing == 0 {
			want = 0o700
		}
		if got := mode(dir); got != want || d.Shared() != (want&0o020 != 0) {
			t.Errorf("directory that was %v is %v, shared %v; want %v", existing, got, d.Shared(), want)
		}
		if _, err := d.Key("key", 8); err != nil {
			t.Fatal(err)
		}
		for range 2 { // new and replaced
			if err := d.Write("file", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 3 {
			t.Errorf("files = %v, %v; want the lock, key and file", entries, err)
		}
		for _, e := range entries {
			if got := mode(filepath.Join(dir, e.Name())); got != 0o600 {
				t.Errorf("%s is %v, want 0600", e.Name(), got)
			}
		}
	}
}

func TestStateRefusesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		for name, open := range map[string]func(string) (*StateDir, error){"Open": OpenStateDir, "Peek": PeekStateDir} {
			if d, err := open(path); d != nil || err == nil {
				t.Errorf("%sStateDir(%s) = %v, %v; want an error", name, path, d, err)
			}
		}
	}
}

// Anybody could put keys into a directory that everybody may write to. In it the gateway has one
// of its own, or nothing.
func TestStateOfEverybody(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such modes
	}
	for _, mode := range []fs.FileMode{0o777 | fs.ModeSticky, 0o777, 0o703} {
		dir := filepath.Join(t.TempDir(), "shared")
		own := filepath.Join(dir, ownName)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode), os.WriteFile(filepath.Join(dir, "k"), []byte("forged"), 0o600)); err != nil {
			t.Fatal(err)
		}
		peek, err := PeekStateDir(dir)
		if err != nil || peek.Path() != own {
			t.Fatalf("%v: PeekStateDir = %v, %v; want %s", mode, peek, err, own)
		}
		d := openState(t, dir)
		key, err := d.Key("k", 6)
		if err != nil || string(key) == "forged" || d.Path() != own || d.Shared() {
			t.Errorf("%v: Key = %q, %v, in %s, shared %v", mode, key, err, d.Path(), d.Shared())
		}
		info, err := os.Stat(own)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v: %s is %v, %v", mode, own, info.Mode(), err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode() != mode|fs.ModeDir {
			t.Errorf("%v: it is now %v, %v", mode, info.Mode(), err)
		}
		d.Close()
		for name, spoil := range map[string]func() error{
			"everybody":       func() error { return os.Chmod(own, 0o707) },
			"is not a direct": func() error { return errors.Join(os.RemoveAll(own), os.Symlink(t.TempDir(), own)) },
		} {
			before, _ := os.Lstat(own)
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(string) (*StateDir, error){OpenStateDir, PeekStateDir} {
				if d, err := open(dir); d != nil || err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%v: %v, %v; want an error that says %q", mode, d, err, name)
				}
			}
			if err := errors.Join(os.RemoveAll(own), os.Mkdir(own, before.Mode().Perm())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A look at a directory changes nothing, and needs no lock.
func TestPeekStateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	use := func(d *StateDir) (key []byte) {
		t.Helper()
		key, err := d.Key("k", 8)
		if err == nil {
			err = d.Write("f", []byte("x"))
		}
		again, readErr := d.Read("f")
		if err != nil || readErr != nil || string(again) != "x" {
			t.Errorf("Key, Write and Read: %v, %v, %q", err, readErr, again)
		}
		return key
	}
	peek := func() *StateDir {
		t.Helper()
		d, err := PeekStateDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	use(peek())
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a directory: %v", err)
	}
	d := openState(t, dir)
	key, err := d.Key("k", 8)
	if err != nil {
		t.Fatal(err)
	}
	d2 := peek()
	if got := use(d2); !bytes.Equal(got, key) {
		t.Errorf("the key is %x, want %x", got, key)
	}
	if err := d2.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("files are %v, %v; want the lock and the key", entries, err)
	}
}

// Other users can read a file if its mode says so, and if they can enter all directories above it.
// A look at a directory that lacks the folder and cannot be written to, or has a file in its place,
// said that all was well, and the gateway then did not start.
func TestPeekAtFolder(t *testing.T) {
	dir := t.TempDir()
	d := openState(t, dir)
	if path, err := d.Folder("there"); err != nil || path != filepath.Join(dir, "there") {
		t.Fatalf("Folder = %q, %v", path, err)
	}
	if err := errors.Join(d.Write("file", nil), d.Close()); err != nil {
		t.Fatal(err)
	}
	peek := &StateDir{place: place{path: dir}, memory: make(map[string][]byte)}
	frozen := &StateDir{place: place{path: dir, readOnly: true}, memory: make(map[string][]byte)}
	for _, c := range []struct {
		d    *StateDir
		name string
		fail bool
	}{
		{peek, "there", false},
		{peek, "new", false},
		{peek, "file", true},
		{frozen, "there", false},
		{frozen, "new", true},
		{frozen, "file", true},
	} {
		if path, err := c.d.Folder(c.name); (err != nil) != c.fail || !c.fail && path != filepath.Join(dir, c.name) {
			t.Errorf("read-only %v: Folder(%s) = %q, %v; want an error %v", c.d.readOnly, c.name, path, err, c.fail)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a peek has made a folder: %v", err)
	}
}

func TestExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such modes
	}
	above, err := os.MkdirTemp("", "exposed") // those of t.TempDir may be for this user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(above) })
	dir := filepath.Join(above, "state")
	d := openState(t, dir)
	for range 2 { // what is new is for this user alone
		if _, err := d.Key("k", 8); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	key, link := filepath.Join(dir, "k"), filepath.Join(above, "link")
	if err := os.Symlink(key, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		above, dir, file fs.FileMode
		want             bool
	}{
		{0o755, 0o755, 0o600, false},
		{0o755, 0o755, 0o640, false},
		{0o755, 0o755, 0o604, true},
		{0o755, 0o700, 0o644, false},
		{0o755, 0o771, 0o644, true},
		{0o750, 0o755, 0o644, false},
	} {
		if err := errors.Join(os.Chmod(above, tc.above), os.Chmod(dir, tc.dir), os.Chmod(key, tc.file)); err != nil {
			t.Fatal(err)
		}
		if Exposed(key) != tc.want || Exposed(link) != tc.want || (len(d.Exposed()) == 1) != tc.want {
			t.Errorf("%o %o %o: %v, by a link %v, of the directory %q; want %v", tc.above, tc.dir, tc.file, Exposed(key), Exposed(link), d.Exposed(), tc.want)
		}
	}
	if Exposed(filepath.Join(dir, "nothing")) || len(openState(t, "").Exposed()) > 0 {
		t.Error("a file that is not there is exposed")
	}
}

// A write that fails leaves the old content and nothing beside it.
func TestStateFailedWrite(t *testing.T) {
	dir := t.TempDir()
	d := openState(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, "x", "full"), 0o700); err != nil { // cannot be replaced by a file
		t.Fatal(err)
	}
	if err := d.Write("x", []byte("data")); err == nil {
		t.Error("Write over a directory = nil")
	}
	if _, err := os.Stat(filepath.Join(dir, "x", "full")); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestStateConcurrent(t *testing.T) {
	bothStates(t, func(t *testing.T, d *StateDir) {
		keys := make([][]byte, 8)
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				var err error
				if keys[i], err = d.Key("k", 32); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, k := range keys {
			if !bytes.Equal(k, keys[0]) {
				t.Errorf("keys differ: %x", keys)
			}
		}
	})
}
