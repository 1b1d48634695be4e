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

func TestStateRefusesOthersDirectories(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	paths := []string{file}
	shared := []fs.FileMode{0o777 | fs.ModeSticky, 0o777, 0o703}
	for _, mode := range shared {
		if runtime.GOOS == "windows" {
			break // which has no such modes
		}
		path := filepath.Join(dir, mode.String())
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		if d, err := OpenStateDir(path); d != nil || err == nil {
			t.Errorf("OpenStateDir(%s) = %v, %v; want an error", path, d, err)
		}
	}
	for i, path := range paths[1:] {
		if info, err := os.Stat(path); err != nil || info.Mode() != shared[i]|fs.ModeDir {
			t.Errorf("%s is now %v, %v", path, info.Mode(), err)
		}
		if entries, err := os.ReadDir(path); err != nil || len(entries) != 0 {
			t.Errorf("%s has %v, %v; want nothing", path, entries, err)
		}
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
