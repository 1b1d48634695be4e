//go:build !race

package program

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
)

// logged is the log of a program, in which tests look. It goes to the log of the test too.
type logged struct {
	t *testing.T

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	return l.t.Output().Write(b)
}

// count returns how often the log says text.
func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// has waits until the log says text.
func (l *logged) has(t *testing.T, text string) {
	t.Helper()
	gateway.Eventually(t, "a line that says "+text, func() bool { return l.count(text) > 0 })
}

// hasNot fails if the log says text.
func (l *logged) hasNot(t *testing.T, text string) {
	t.Helper()
	if l.count(text) > 0 {
		t.Errorf("the log says %s", text)
	}
}
