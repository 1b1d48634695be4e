//go:build !linux

package server

import (
	"math"
	"runtime/debug"
)

// AvailableMemory returns what the program may use, in bytes: GOMEMLIMIT, else 1 GiB. It is the
// default of [Config.Memory].
func AvailableMemory() int64 {
	if n := debug.SetMemoryLimit(-1); n != math.MaxInt64 {
		return n
	}
	return 1 << 30
}
