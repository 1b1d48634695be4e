package certs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// lockName is the file whose lock says that a gateway uses the directory. It is never deleted:
// another process may have opened it already.
const lockName = ".lock"

var errInUse = errors.New("in use by another gateway")

// StateDir is a directory with the files that make a restarted gateway the same gateway. One
// process has it at a time. Any number of goroutines may use it.
type StateDir struct {
	path   string   // constant; empty in memory
	lock   *os.File // constant; nil in memory
	shared bool     // constant; its group may write

	mu     sync.Mutex
	closed bool              // guarded by mu
	memory map[string][]byte // guarded by mu; nil in a directory
}

// OpenStateDir opens the directory path until [StateDir.Close]. If there is none it makes it, for
// its user alone. The mode of one that is there is its owner's business and stays (others may well
// read names, the files are for their user alone), but one that everybody may write to, such as
// /tmp, is refused: anybody could put keys there. So is one that another StateDir has open. With
// an empty path the files are in memory only.
func OpenStateDir(path string) (*StateDir, error) {
	if path == "" {
		return &StateDir{memory: make(map[string][]byte)}, nil
	}
	d, err := openStateDir(path)
	if err != nil {
		return nil, fmt.Errorf("certs: state directory %s: %w", path, err)
	}
	return d, nil
}

func openStateDir(path string) (*StateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	group, everybody := writers(info.Mode())
	if everybody {
		return nil, errors.New("everybody may write to it; name one of its own")
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		return nil, err
	}
	return &StateDir{path: path, lock: lock, shared: group}, nil
}

// Shared reports whether the group of the directory may write to it, as to a volume of Kubernetes
// with fsGroup. Its members can replace the keys.
func (d *StateDir) Shared() bool { return d.shared }

// Key returns size random bytes, the same ones for the same name as long as the directory lives. A
// file of another size is an error.
func (d *StateDir) Key(name string, size int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, err := d.readLocked(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key = make([]byte, size)
		_, _ = rand.Read(key) // never fails
		if err := d.writeLocked(name, key); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case len(key) != size:
		return nil, stateError(name, fmt.Errorf("has %d bytes, want %d; delete it to get a new key", len(key), size))
	}
	return key, nil
}

// Read returns the content of a file. The error is an [fs.ErrNotExist] where there is no such file.
func (d *StateDir) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readLocked(name)
}

// Write replaces the content of a file: after a crash it is the new or the old one. Names are
// plain file names without a dot in front.
func (d *StateDir) Write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeLocked(name, data)
}

// Close lets others open the directory. Later calls of other methods return an error that is
// [fs.ErrClosed]; a second Close does nothing.
func (d *StateDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.lock == nil {
		return nil
	}
	return d.lock.Close() // ends the lock
}

func (d *StateDir) readLocked(name string) ([]byte, error) {
	if err := d.checkLocked(name); err != nil {
		return nil, stateError(name, err)
	}
	if d.memory != nil {
		data, ok := d.memory[name]
		if !ok {
			return nil, stateError(name, fs.ErrNotExist)
		}
		return bytes.Clone(data), nil
	}
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil {
		return nil, stateError(name, err)
	}
	return data, nil
}

func (d *StateDir) writeLocked(name string, data []byte) error {
	if err := d.checkLocked(name); err != nil {
		return stateError(name, err)
	}
	if d.memory != nil {
		d.memory[name] = append([]byte{}, data...)
		return nil
	}
	if err := replaceFile(d.path, name, data); err != nil {
		return stateError(name, err)
	}
	return nil
}

func (d *StateDir) checkLocked(name string) error {
	if d.closed {
		return fs.ErrClosed
	}
	if !filepath.IsLocal(name) || strings.HasPrefix(name, ".") || filepath.Base(name) != name {
		return errors.New("not a name for a file")
	}
	return nil
}

func stateError(name string, err error) error {
	return fmt.Errorf("certs: state file %q: %w", name, err)
}

// replaceFile writes beside the file and renames: with the lock nobody else uses the same name for
// that.
func replaceFile(dir, name string, data []byte) (err error) {
	temp := filepath.Join(dir, ".new-"+name)
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}
