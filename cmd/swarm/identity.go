package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/swarmgate/swarmgate/client/secret"
)

// openIdentity reads the identity in the file at path: 64 hexadecimal digits. If there is no file,
// it makes one that nobody else can read.
func openIdentity(path string) (*secret.Identity, error) {
	id := secret.NewIdentity()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return readIdentity(path)
	}
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%x\n", id.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return id, nil
}

func readIdentity(path string) (*secret.Identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others on this computer can read or change the key: chmod 600", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != len(secret.Key{}) {
		return nil, fmt.Errorf("%s: want 64 hexadecimal digits, as --identity writes them", path)
	}
	return secret.ParseIdentity(key)
}
