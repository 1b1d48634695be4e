//go:build !linux

package server

import (
	"math"
	"runtime/debug"
)

// availableMemory returns GOMEMLIMIT, else 1 GiB.
func availableMemory() int64 {
	if n := debug.SetMemoryLimit(-1); n != math.MaxInt64 {
		return n
	}
	return 1 << 30
}
