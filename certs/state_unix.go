//go:build unix

package certs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

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

// othersMay reports whether users who are neither the owner nor in the group may do what bits say.
func othersMay(mode, bits fs.FileMode) bool { return mode&bits == bits }

// writable reports whether this program may write to the directory path, and whether nobody may,
// because its file system is mounted read-only.
func writable(path string) (mayWrite, frozen bool) {
	err := unix.Access(path, unix.W_OK|unix.X_OK)
	return err == nil, errors.Is(err, unix.EROFS)
}

// owned reports whether a file belongs to the user of this program.
func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// syncDir makes a rename in root outlive a crash of the machine.
func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
