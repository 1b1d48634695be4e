package server

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// AvailableMemory returns what the program may use, in bytes: GOMEMLIMIT, else the cgroup's limit,
// else half of the RAM. It is the default of [Config.Memory].
func AvailableMemory() int64 {
	if n := debug.SetMemoryLimit(-1); n != math.MaxInt64 {
		return n
	}
	if n, ok := cgroupLimit(os.DirFS("/")); ok {
		return n
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit) / 2)
}

// cgroupLimit returns the least memory limit of our cgroup and its parents, version 2 or 1.
func cgroupLimit(root fs.FS) (limit int64, ok bool) {
	self, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(self)) { // hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		var mount, file string
		switch {
		case fields[0] == "0" && fields[1] == "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case fields[1] == "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// A container may see the path that the host sees, and only its own cgroup, at the root.
		for dir := path.Join("/", fields[2]); ; dir = path.Dir(dir) {
			if n, set := readLimit(root, path.Join(mount, dir, file)); set && (!ok || n < limit) {
				limit, ok = n, true
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit, ok
}

// readLimit reads a file with a number of bytes. "max", or a number larger than any machine's
// memory, means no limit.
func readLimit(root fs.FS, name string) (n int64, ok bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil && n > 0 && n < 1<<60
}
