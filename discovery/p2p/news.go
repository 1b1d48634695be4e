package p2p

import (
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

// news is the queue of items that a topic has to yield. If it is full, a new item pushes out the
// oldest one, and the circuit of that, if any, is refused. Any number of goroutines may push, and
// one pulls. The zero value is empty.
type news struct {
	mu    sync.Mutex
	items []item // guarded by mu
}

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
}

// pull returns the oldest item, or false if there is none.
func (n *news) pull() (item, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.items) == 0 {
		n.items = nil
		return item{}, false
	}
	i := n.items[0]
	n.items[0] = item{}
	n.items = n.items[1:]
	return i, true
}

// wake puts an element into a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
