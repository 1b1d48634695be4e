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

// StateDir is a directory with the files that make a restarted gateway the same gateway. One
// process has it at a time. Any number of goroutines may use it.
type StateDir struct {
	place          // constant; without a path in memory
	root  *os.Root // constant; nil in memory, and for a peek
	held  *os.File // constant; has the lock, nil as root

	mu     sync.Mutex
	closed bool              // guarded by mu
	memory map[string][]byte // guarded by mu; what was written, nil in a directory
	used   map[string]bool   // guarded by mu; the names of files that were read
}

// OpenStateDir opens the directory path until [StateDir.Close]. If there is none it makes it, for
// its user alone. The mode of one that is there is its owner's business and stays (others may well
// read names, the files are for their user alone). But anybody could put keys into one that
// everybody may write to, such as /tmp, or a volume that only this gateway has: in it the files are
// in a directory of their own, which belongs to this user. A directory that cannot be written to
// is enough if it has all files. One that another StateDir has open is refused. With an empty path
// the files are in memory only.
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
	place, err := findPlace(path, false)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(place.path)
	if err != nil {
		return nil, err
	}
	held, err := place.lock(root)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &StateDir{place: place, root: root, held: held}, nil
}

// PeekStateDir returns the StateDir that [OpenStateDir] would return, or its error, but changes
// nothing: it makes no directory and no file, and takes no lock, so another StateDir may have the
// directory open. What is written to it stays in memory.
func PeekStateDir(path string) (*StateDir, error) {
	d := &StateDir{memory: make(map[string][]byte)}
	if path == "" {
		return d, nil
	}
	var err error
	if d.place, err = findPlace(path, true); err != nil {
		return nil, fmt.Errorf("certs: state directory %s: %w", path, err)
	}
	return d, nil
}

// Path returns where the files are; empty in memory.
func (d *StateDir) Path() string { return d.path }

// ReadOnly reports whether files cannot be written.
func (d *StateDir) ReadOnly() bool { return d.readOnly }

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

// Read returns the content of a file. The error is an [fs.ErrNotExist] where there is no such
// file.
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

// Folder returns the path of a folder in the directory for files of a library, which it makes if
// there is none, unless d is from [PeekStateDir]. In memory there is none.
func (d *StateDir) Folder(name string) (path string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkLocked(name); err != nil {
		return "", stateError(name, err)
	}
	if d.path == "" {
		return "", stateError(name, errors.New("wants a directory"))
	}
	path = filepath.Join(d.path, name)
	info, err := os.Stat(path)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case err == nil && !info.IsDir():
		err = errors.New("not a directory")
	case missing && d.readOnly:
		err = errReadOnly
	case missing && d.memory != nil: // only to look
		err = nil
	case missing:
		err = os.Mkdir(path, 0o700)
	}
	if err != nil {
		return "", stateError(name, err)
	}
	return path, nil
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
	if d.root == nil {
		return nil
	}
	return errors.Join(d.held.Close(), d.root.Close()) // the first ends the lock
}

func (d *StateDir) readLocked(name string) ([]byte, error) {
	if err := d.checkLocked(name); err != nil {
		return nil, stateError(name, err)
	}
	if data, ok := d.memory[name]; ok {
		return bytes.Clone(data), nil
	}
	if d.path == "" {
		return nil, stateError(name, fs.ErrNotExist)
	}
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil {
		return nil, stateError(name, err)
	}
	if d.used == nil {
		d.used = make(map[string]bool)
	}
	d.used[name] = true
	return data, nil
}

func (d *StateDir) writeLocked(name string, data []byte) error {
	if err := d.checkLocked(name); err != nil {
		return stateError(name, err)
	}
	if d.readOnly {
		return stateError(name, errReadOnly)
	}
	if d.memory != nil {
		d.memory[name] = append([]byte{}, data...)
		return nil
	}
	if err := replaceFile(d.root, name, data); err != nil {
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
func replaceFile(root *os.Root, name string, data []byte) (err error) {
	temp := ".new-" + name
	defer func() {
		if err != nil {
			root.Remove(temp)
		}
	}()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(root)
}
