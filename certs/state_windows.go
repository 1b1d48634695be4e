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

// writers, othersMay, writable and owned know nothing: the modes of files say nothing here.
func writers(fs.FileMode) (group, everybody bool)  { return false, false }
func othersMay(mode, bits fs.FileMode) bool        { return false }
func writable(path string) (mayWrite, frozen bool) { return true, false }
func owned(fs.FileInfo) bool                       { return true }

// syncDir does nothing: a directory cannot be flushed here.
func syncDir(*os.Root) error { return nil }
