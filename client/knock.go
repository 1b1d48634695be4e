package client

import (
	"net"
	"sync"
	"time"

	"github.com/swarmgate/swarmgate/internal/udp"
)

// knockTime is how long a knock waits for an answer.
const knockTime = probeEvery * 3 / 4

// knocker asks whether anybody listens on a gateway's port. It uses a socket that is connected,
// because only to such a one the kernel tells that the port is closed (ICMP, port unreachable).
// Anybody can forge that answer, who guesses the port of the socket in time.
type knocker struct {
	wg sync.WaitGroup // of the knock in progress

	mu     sync.Mutex
	busy   bool     // guarded by mu; a knock is in progress
	conn   net.Conn // guarded by mu; its socket
	closed bool     // guarded by mu
}

// knock sends a packet, and calls refused, on a goroutine of its own, if nobody listens. It does
// nothing while another knock is in progress.
func (k *knocker) knock(packet []byte, to *net.UDPAddr, refused func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy || k.closed {
		return
	}
	conn, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return
	}
	k.busy, k.conn = true, conn
	k.wg.Go(func() {
		if isRefused(conn, packet) {
			refused()
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		conn.Close()
		k.busy, k.conn = false, nil
	})
}

// isRefused reports whether a packet meets a closed port.
func isRefused(conn net.Conn, packet []byte) bool {
	conn.SetDeadline(time.Now().Add(knockTime))
	if _, err := conn.Write(packet); err != nil {
		return udp.IsRefused(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return udp.IsRefused(err)
}

// close ends a knock in progress.
func (k *knocker) close() {
	k.mu.Lock()
	k.closed = true
	if k.conn != nil {
		k.conn.Close()
	}
	k.mu.Unlock()
	k.wg.Wait()
}
