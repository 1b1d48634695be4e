package main

import (
	"os"
	"runtime/debug"

	"github.com/swarmgate/swarmgate/server"
)

// limitMemory returns what the program may use, in bytes, and has Go keep to four fifths of it,
// unless GOMEMLIMIT says otherwise: without a limit the heap doubles before it is collected. The
// rest is for what Go does not count, such as the kernel's buffers of sockets.
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
