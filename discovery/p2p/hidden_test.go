package p2p

import (
	"errors"
	"testing"
	"time"
)

// A host that nobody can reach looked as if all were well, and nobody found it. It tells that once
// others had time to reach it, and takes it back when somebody does.
func TestNoteReach(t *testing.T) {
	tab := &table{private: true, auto: true, status: newStatus(), notes: make(chan struct{}, 1)}
	tab.missing.Store(&trouble{})
	now := time.Now()
	check := func(name string, after time.Duration, want error, again time.Duration, news bool) {
		t.Helper()
		now = now.Add(after)
		var next time.Time
		if again > 0 {
			next = now.Add(again)
		}
		if got := tab.noteReach(now); !got.Equal(next) {
			t.Errorf("%s: look again at %v, want %v", name, got, next)
		}
		if err := tab.caveat(); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		select {
		case <-tab.notes:
			if !news {
				t.Errorf("%s: told of nothing new", name)
			}
		default:
			if news {
				t.Errorf("%s: the news was not told", name)
			}
		}
	}
	check("not in the DHT", 0, nil, 0, false)
	tab.status.set(nil)
	check("just in it", time.Hour, nil, hiddenAfter, false)
	check("not long enough", hiddenAfter/2, nil, hiddenAfter/2, false)
	check("for long", hiddenAfter/2, errHidden, 0, true)
	check("still", time.Hour, errHidden, 0, false)
	tab.serving.Store(true)
	check("reached", time.Second, nil, 0, true)
	tab.serving.Store(false)
	check("moved", time.Second, nil, hiddenAfter, false)
	tab.status.set(errors.New("out of it"))
	check("out of the DHT", hiddenAfter, nil, 0, false)
	tab.auto = false
	tab.status.set(nil)
	check("told to be a client or a server", time.Hour, nil, 0, false)
}
