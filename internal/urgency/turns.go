package urgency

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turnSize is how many bytes a stream writes in a turn, at most.
	turnSize = 64 << 10
	// leastSize is what a Write must have left for a turn. A smaller one is soon through.
	leastSize = 4 << 10
	// ahead is how much of a turn is left when the next one begins, so that there is always
	// something to send.
	ahead = 4 << 10
	// fullFrame is what a frame has if only the packet limits it. A window that is used up leaves
	// less to the last one.
	fullFrame = 1000
	// lookEvery is how often somebody looks whether the stream whose turn it is sends anything.
	lookEvery = 5 * time.Millisecond
	// longestWait is how long a Write waits for its turn.
	longestWait = time.Second
)

// Turns has the streams of a connection that have much to send write one after the other. The zero
// value is ready. Any number of goroutines may use it.
//
// A turn ends when most of it is on its way, or when its stream cannot send: an unread stream does
// not block the others. That shows by a short frame, or because there was none for a while. The next
// bytes of such a stream take no turn, until its window was large enough for as many as a turn has.
// On a slow connection most Writes stop waiting before their turn, so QUIC sends a packet of each
// stream.
//
// If several streams have much to send, by short Writes, a Write returns before its bytes were
// given to QUIC. So those of one stream that wait are sent together. Up to 64 KiB of a stream may
// wait.
type Turns struct {
	alive   atomic.Bool  // the stream whose turn it is has sent something since the last look
	writing atomic.Int32 // how many streams that have much to send are being written to

	flushes sync.WaitGroup // grows while mu is held and ended is false

	mu      sync.Mutex
	current *Writer     // guarded by mu; whose turn it is, or nil
	waiting []*Writer   // guarded by mu; in order of arrival
	timer   *time.Timer // guarded by mu; calls look while somebody waits
	looking bool        // guarded by mu; timer runs
	ended   bool        // guarded by mu; Wait was called
}

// turn is what a Writer knows of its turns.
type turn struct {
	came  chan bool // takes one; whether it is the Writer's turn, else it goes on without
	limit func(int) int

	// of the Write that runs; frame has the stream's lock
	left    int  // bytes
	over    bool // it is not, or no more, the Writer's turn
	blocked bool // its window was used up

	hurries bool      // guarded by Turns.mu; it waits for no turn
	stalled bool      // guarded by Turns.mu; its last turn ended because it sent nothing
	since   time.Time // guarded by Turns.mu; when it began to wait
}

// take waits for the turn of w, and reports whether it came. Else w goes on without one. alone says
// that nobody else wanted it.
func (t *Turns) take(w *Writer) (came, alone bool) {
	t.mu.Lock()
	if w.turn.hurries || w.turn.stalled {
		w.turn.stalled = false
		t.mu.Unlock()
		return false, false
	}
	if t.current == nil {
		t.giveLocked(w)
		t.mu.Unlock()
		return true, true
	}
	w.turn.since = time.Now()
	t.waiting = append(t.waiting, w)
	if !t.looking {
		t.lookLaterLocked()
	}
	t.mu.Unlock()
	return <-w.turn.came, false
}

func (t *Turns) giveLocked(w *Writer) {
	t.current = w
	t.alive.Store(true)
}

// start runs flush, of a Writer, unless Wait was called.
func (t *Turns) start(flush func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.flushes.Go(flush)
	}
	return !t.ended
}

// Wait returns when nothing more is written that Writes have taken. The connection must have ended.
func (t *Turns) Wait() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.flushes.Wait()
}

// pass gives the turn to the next one, if it is that of w.
func (t *Turns) pass(w *Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == w {
		t.passLocked()
	}
}

func (t *Turns) passLocked() {
	t.current = nil
	if len(t.waiting) > 0 {
		w := t.waiting[0]
		t.giveLocked(w)
		t.leaveLocked(0, true)
	}
}

// leaveLocked has the i-th that waits go on.
func (t *Turns) leaveLocked(i int, inTurn bool) {
	t.waiting[i].turn.came <- inTurn
	t.waiting = slices.Delete(t.waiting, i, i+1)
}

// hurry has Writes of w wait for no turn, or for turns again.
func (t *Turns) hurry(w *Writer, yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.turn.hurries = yes
	if i := slices.Index(t.waiting, w); yes && i >= 0 {
		t.leaveLocked(i, false)
	}
}

func (t *Turns) lookLaterLocked() {
	t.looking = true
	if t.timer == nil {
		t.timer = time.AfterFunc(lookEvery, t.look)
	} else {
		t.timer.Reset(lookEvery)
	}
}

// look ends a turn in which nothing was sent since the last look, and waits that last too long.
func (t *Turns) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.alive.Swap(false) && t.current != nil {
		t.current.turn.stalled = true
		t.passLocked()
	}
	for now := time.Now(); len(t.waiting) > 0 && now.Sub(t.waiting[0].turn.since) >= longestWait; {
		t.leaveLocked(0, false)
	}
	if t.looking = len(t.waiting) > 0; t.looking {
		t.lookLaterLocked()
	}
}

// writeInTurn writes p, at most turnSize bytes, when it is the turn of w.
func (w *Writer) writeInTurn(p []byte) (int, error) {
	r := &w.turn
	if r.limit == nil {
		r.came, r.limit = make(chan bool, 1), w.frame
	}
	came, alone := false, false
	if !r.blocked {
		came, alone = w.turns.take(w)
	}
	r.left, r.over, r.blocked = len(p), !came, false
	var n int
	var err error
	if alone {
		n, err = w.stream.Write(p) // which returns while QUIC still has something to send
	} else {
		n, err = w.stream.WriteWithLimit(p, r.limit)
	}
	if !r.over {
		w.turns.pass(w)
	}
	return n, err
}

// frame is told how many bytes QUIC is about to send of what [Writer.writeInTurn] writes, and lets
// it.
func (w *Writer) frame(n int) int {
	r := &w.turn
	r.left -= n
	r.blocked = r.blocked || n < fullFrame && r.left > 0
	switch {
	case r.over:
	case r.blocked || r.left <= ahead:
		r.over = true
		w.turns.pass(w)
	default:
		w.turns.alive.Store(true)
	}
	return n
}
