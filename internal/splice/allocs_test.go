package splice

import (
	"io"
	"testing"
)

// A copy that runs takes no memory for what it moves, be it little or much.
func TestCopyAllocatesNothing(t *testing.T) {
	for _, size := range []int{64, BufferSize} {
		in, src := tcpPair(t)
		dst, out := tcpPair(t)
		var c Copy
		done := make(chan error, 1)
		go func() { done <- c.Run(dst, src) }()
		b := make([]byte, size)
		var failed error
		allocs := testing.AllocsPerRun(1000, func() {
			if _, err := in.Write(b); err != nil {
				failed = err
			}
			if _, err := io.ReadFull(out, b); err != nil {
				failed = err
			}
		})
		in.CloseWrite()
		if err := <-done; allocs != 0 || err != nil || failed != nil {
			t.Errorf("%d bytes: %v allocations, %v, %v; want none", size, allocs, failed, err)
		}
	}
}
