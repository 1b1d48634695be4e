package p2p

import (
	"context"
	"sync"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// maxNews is how many items may wait for the caller of Join.
const maxNews = 4096

// item is one pair that Join yields.
type item struct {
	sighting discovery.Sighting
	err      error
}

// news is the queue of items that Join has to yield. If it is full, a new item pushes out the
// oldest one, and the circuit of that, if any, is refused. Any number of goroutines may push, and
// one pulls.
type news struct {
	mu    sync.Mutex
	items []item        // guarded by mu
	more  chan struct{} // has an element when items may not be empty
}

func newNews() *news { return &news{more: make(chan struct{}, 1)} }

// push adds i. It never blocks.
func (n *news) push(i item) {
	n.mu.Lock()
	var dropped item
	if len(n.items) >= maxNews {
		dropped, n.items = n.items[0], n.items[1:]
	}
	n.items = append(n.items, i)
	n.mu.Unlock()
	if in := dropped.sighting.Inbound; in != nil {
		in.Refuse(wtproto.CodeBusy)
	}
	wake(n.more)
}

// pull returns the oldest item, or false after ctx has ended or other is closed.
func (n *news) pull(ctx context.Context, other <-chan struct{}) (item, bool) {
	for ctx.Err() == nil {
		select {
		case <-other:
			return item{}, false
		default:
		}
		n.mu.Lock()
		if len(n.items) > 0 {
			i := n.items[0]
			n.items[0] = item{}
			n.items = n.items[1:]
			n.mu.Unlock()
			return i, true
		}
		n.items = nil
		n.mu.Unlock()
		select {
		case <-n.more:
		case <-other:
		case <-ctx.Done():
		}
	}
	return item{}, false
}

// wake puts an element into a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
