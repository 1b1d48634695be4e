package main

import (
	"runtime/debug"
	"testing"
)

// Without a limit of Go's, a gateway in a cgroup of 256 MiB was killed after a client had uploaded
// 156 MiB that nobody read.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	for _, test := range []struct {
		env, flag string
		want      int64
	}{
		{"", "500MiB", 400 << 20},
		{"1GiB", "500MiB", before}, // Go has read it long ago
		{"off", "500MiB", before},
	} {
		t.Run(test.env, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", test.env)
			i := start(t, "--memory", test.flag)
			if got := debug.SetMemoryLimit(-1); got != test.want {
				t.Errorf("GOMEMLIMIT=%q --memory %s: Go's limit is %d, want %d", test.env, test.flag, got, test.want)
			}
			i.stop()
			if status := <-i.status; status != 0 {
				t.Errorf("status %d", status)
			}
			if got := debug.SetMemoryLimit(-1); got != before {
				t.Errorf("after the end Go's limit is %d, want %d", got, before)
			}
		})
	}
}
