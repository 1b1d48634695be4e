package main

import (
	"os"
	"runtime/debug"

	"github.com/swarmgate/swarmgate/server"
)

// limitMemory returns how many bytes the program may use, and sets Go's memory limit to four
// fifths of it, unless GOMEMLIMIT is set. Without a limit the heap doubles before Go collects it.
// The rest is for memory that Go does not count, such as the kernel's buffers of sockets.
func (g *gateway) limitMemory(o *options) int64 {
	memory := int64(o.Memory)
	if memory == 0 {
		memory = server.AvailableMemory()
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return memory
	}
	before := debug.SetMemoryLimit(memory / 5 * 4)
	g.onClose("memory limit", func() error {
		debug.SetMemoryLimit(before)
		return nil
	})
	return memory
}
