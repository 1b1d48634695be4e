package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/swarmgate/swarmgate/server/auth"
)

// lockTimeout is how long somebody else may take to add a token.
const lockTimeout = 10 * time.Second

// addToken adds a line to the token file at path, all at once: a gateway that looks at the file
// meanwhile sees it before or after. The file keeps its mode, owner and group, so that whoever could
// read it still can; of a link the file that it leads to changes. Who adds another one at the same
// time waits.
func addToken(path, name, line string, force bool) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	info, statErr := os.Stat(path)
	names, err := auth.TokenNames(old)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if names[name] && !force {
		return fmt.Errorf("%s has a token of %s already: --force adds another one", path, name)
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tokens-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(old, line+"\n"...))
	if statErr == nil { // else mode 0600 of this user
		err = errors.Join(err, giveTo(f, info), f.Chmod(info.Mode().Perm()))
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
