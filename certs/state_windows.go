package certs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks f until it is closed, also when the process is killed.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errInUse
	}
	return os.NewSyscallError("LockFileEx", err)
}

// writers knows nothing: the modes of directories say nothing here.
func writers(fs.FileMode) (group, everybody bool) { return false, false }

// syncDir does nothing: a directory cannot be flushed here.
func syncDir(string) error { return nil }
