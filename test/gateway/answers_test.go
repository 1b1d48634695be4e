package gateway

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/server"
)

// Answers to HTTP/3 requests once waited for ever for a client that has no room for them: each
// request of 18 bytes held 45 KB, which is 13 MB a connection.
func TestAnswersThatNobodyTakes(t *testing.T) {
	var begun, running atomic.Int32
	page := make([]byte, 1<<20)
	seen := &refusals{}
	g := Start(t, server.Config{Observer: seen.observer(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun.Add(1)
		running.Add(1)
		defer running.Add(-1)
		w.Write(page)
	})})
	s := g.from(t, 2)
	const connections, each = 2, 100
	for range connections {
		conn, err := s.dial(Context(t), http3.NextProtoH3)
		if err != nil {
			t.Fatal(err)
		}
		settings, err := conn.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		settings.Write([]byte{0, 4, 0})
		for range each {
			ask(t, conn)
		}
	}
	Eventually(t, "all requests are taken", func() bool { return begun.Load() == connections*each })
	Eventually(t, "the oldest answers are cut off", func() bool { return running.Load() <= 64 })
	if n := seen.of(server.LimitAnswersAddress); n != connections*each-64 {
		t.Errorf("%d refusals were told, want %d", n, connections*each-64)
	}
	g.from(t, 3).requests(t, 1)
	Eventually(t, "all others are given up", func() bool { return running.Load() == 0 })
}

// ask sends GET / and reads nothing of the answer.
func ask(t *testing.T, conn *quic.Conn) {
	t.Helper()
	str, err := conn.OpenStreamSync(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	// HEADERS with GET, https, / (indices of QPACK's static table), and localhost.
	request := append([]byte{1, 16, 0, 0, 0xd1, 0xd7, 0xc1, 0x50, 9}, "localhost"...)
	if _, err := str.Write(request); err != nil {
		t.Fatal(err)
	}
}
