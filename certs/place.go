package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// ownName is the directory that a gateway makes in one that everybody may write to.
const ownName = "swarmgate"

var (
	errInUse    = errors.New("in use by another gateway")
	errReadOnly = errors.New("the directory is read-only, and has no such file")
)

// place is a directory for the files of a [StateDir].
type place struct {
	path     string
	readOnly bool // this program cannot write to it
	shared   bool // its group can
}

// findPlace returns the place in the directory path, which it makes if there is none. If peek is
// set it makes nothing: it returns the place that would be there, or why it cannot be made.
func findPlace(path string, peek bool) (place, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if peek {
			return place{path: path}, canMake(path)
		}
		if err = os.MkdirAll(path, 0o700); err == nil {
			info, err = os.Stat(path)
		}
	}
	switch {
	case err != nil:
		return place{}, err
	case !info.IsDir():
		return place{}, errors.New("not a directory")
	}
	group, everybody := writers(info.Mode())
	mayWrite, frozen := writable(path)
	switch {
	case frozen: // whatever its mode says
		return place{path: path, readOnly: true}, nil
	case everybody:
		return ownPlace(path, peek)
	}
	return place{path: path, readOnly: !mayWrite, shared: group}, nil
}

// ownPlace returns the place in a directory that everybody may write to, such as a volume that
// only this gateway has, or /tmp: a directory of its own there, which nobody else can fill.
func ownPlace(path string, peek bool) (place, error) {
	own := filepath.Join(path, ownName)
	if !peek {
		if err := os.Mkdir(own, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return place{}, err
		}
	}
	info, err := os.Lstat(own)
	if peek && errors.Is(err, fs.ErrNotExist) {
		return place{path: own}, nil
	}
	if err != nil {
		return place{}, err
	}
	group, everybody := writers(info.Mode())
	wrong := ""
	switch {
	case !info.IsDir():
		wrong = "is not a directory"
	case !owned(info):
		wrong = "belongs to another user"
	case everybody:
		wrong = "can be written by everybody too"
	}
	if wrong != "" {
		return place{}, fmt.Errorf("everybody may write to it, and %s in it %s", ownName, wrong)
	}
	return place{path: own, shared: group}, nil
}

// canMake returns why MkdirAll of path would fail. There is nothing at path.
func canMake(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for {
		above := filepath.Dir(path)
		info, err := os.Stat(above)
		switch mayWrite, _ := writable(above); {
		case errors.Is(err, fs.ErrNotExist) && above != path:
			path = above
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is not a directory", above)
		case !mayWrite:
			return fmt.Errorf("it cannot be made: no permission to write to %s", above)
		}
		return nil
	}
}

// lock opens the file whose lock says that a gateway uses the place. A place that is read-only may
// have none; then the directory itself is locked, if its file system knows locks.
func (p place) lock(root *os.Root) (*os.File, error) {
	if !p.readOnly {
		f, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	f, err := root.Open(lockName)
	if err != nil {
		if f, err = root.Open("."); err != nil {
			return nil, err
		}
	}
	if err := lockFile(f); errors.Is(err, errInUse) {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Exposed reports whether users who are neither the owner of the file at path nor in its group can
// read it: they may read it, and enter all directories above it. It knows modes only; on Windows it
// reports nothing.
func Exposed(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return false
	}
	const read, enter = 0o004, 0o001
	for want := fs.FileMode(read); ; want = enter {
		info, err := os.Stat(path)
		if err != nil || !othersMay(info.Mode(), want) {
			return false
		}
		above := filepath.Dir(path)
		if above == path {
			return true
		}
		path = above
	}
}

// Exposed returns the paths of the files that were read and that other users can read, see the
// function [Exposed].
func (d *StateDir) Exposed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var exposed []string
	for _, name := range slices.Sorted(maps.Keys(d.used)) {
		if path := filepath.Join(d.path, name); Exposed(path) {
			exposed = append(exposed, path)
		}
	}
	return exposed
}
