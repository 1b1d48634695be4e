//go:build unix

package certs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks f until it is closed, also when the process is killed.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errInUse
	}
	return os.NewSyscallError("flock", err)
}

// writers says who may write to a directory besides its owner.
func writers(mode fs.FileMode) (group, everybody bool) { return mode&0o020 != 0, mode&0o002 != 0 }

// syncDir makes a rename in dir outlive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
