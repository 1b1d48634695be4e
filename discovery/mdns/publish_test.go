package mdns

import (
	"bytes"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/discovery"
)

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Without a family zeroconf wrote "[zeroconf] no suitable IPv6 interface" to stderr, past the
// logger, each time that the interfaces changed. What it prints is logged, and what others print
// goes where it went.
func TestNothingIsPrinted(t *testing.T) {
	var printed, logged safeBuffer
	log.SetOutput(&printed)
	defer log.SetOutput(os.Stderr)
	register := registerWith(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if _, err := register(&Self{ID: "x", Port: 1}, []discovery.Interface{iface(1<<20, "gone")}); err == nil {
		t.Error("published on an interface that is not there")
	}
	log.Print("of somebody else")
	if got := printed.String(); strings.Contains(got, "zeroconf") || !strings.Contains(got, "of somebody else") {
		t.Errorf("printed %q", got)
	}
	if got := logged.String(); !strings.Contains(got, "no suitable IPv4 interface") || !strings.Contains(got, "no suitable IPv6 interface") {
		t.Errorf("logged %q, want that neither family works", got)
	}
}
