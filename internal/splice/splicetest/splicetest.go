// Package splicetest is for tests of what a copy of [splice] reads.
package splicetest

import (
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/internal/splice"
)

// Restless copies src to dst with a [splice.Copy] that comes to rest all the time, also in the
// moment in which bytes come, or the end of src. If src has OnReadable, as a discovery.Readable, it
// waits for that now and then before it goes on. It returns what Run returns in the end.
func Restless(dst io.Writer, src splice.Source) error {
	var c splice.Copy
	rested, over := make(chan struct{}, 1), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			src.SetReadDeadline(time.Unix(1, 0))
			select {
			case <-rested:
			case <-over:
				return
			case <-time.After(time.Millisecond): // the copy has only given a buffer back
			}
			for range rand.IntN(50) {
				runtime.Gosched()
			}
		}
	})
	defer wg.Wait()
	defer close(over)
	for {
		if err := c.Run(dst, src); err != splice.ErrIdle {
			return err
		}
		select {
		case rested <- struct{}{}:
		default:
		}
		if r, ok := src.(interface{ OnReadable(func()) bool }); ok && rand.IntN(2) == 0 {
			readable := make(chan struct{})
			if r.OnReadable(func() { close(readable) }) {
				<-readable
			}
		}
	}
}
