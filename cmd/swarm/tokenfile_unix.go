//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockFolder holds the lock of a folder until unlock is called or the process ends. It waits for
// whoever holds it, but not for ever. Where a file system has no such locks, nobody waits.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for late := time.Now().Add(lockTimeout); unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK; {
		if time.Now().After(late) {
			f.Close()
			return nil, fmt.Errorf("%s has been locked by another program for %v", path, lockTimeout)
		}
		<-time.After(10 * time.Millisecond)
	}
	return func() { f.Close() }, nil
}

// giveTo gives f to the owner and the group of another file, unless it is theirs.
func giveTo(f *os.File, other fs.FileInfo) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	have, ok := mine.Sys().(*syscall.Stat_t)
	want, also := other.Sys().(*syscall.Stat_t)
	if !ok || !also || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("the file would not be its owner's any more (run this as its owner, or as root): %w", err)
	}
	return nil
}
