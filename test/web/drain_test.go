//go:build !race

package web

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/test/browser"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The topics of sessions with circuits when the gateway goes away: those of one end in time, those
// of the other are cut.
const (
	drainEnds  = "ends"
	drainStays = "stays"
)

// parting is what a session was told when its gateway went away.
type parting struct {
	On      string // its topic, or "" without a circuit
	End     browser.Outcome
	EndedAt int64           // ms since 1970
	Cut     browser.Outcome // how a circuit that stays ended
	CutAt   int64           // when, in ms since 1970
}

// farewell is a GOAWAY.
type farewell struct {
	Code       wtproto.Code
	RetryAfter int64 // ms
	Reason     string
}

// 500 sessions of a gateway that gets SIGTERM: 400 in Go, over QUIC and WebSocket, and 50 of a
// page in Chromium and in Firefox each. Each is told GOAWAY and, when the drain is over, SHUTDOWN,
// both with their reasons. Circuits that end meanwhile lose nothing, and those that do not are cut
// at the end of the drain and not before.
func TestDrainOfFiveHundredSessions(t *testing.T) {
	t.Parallel()
	const (
		inGo, inPage = 200, 50 // sessions of each transport, and of each browser
		all          = 2*inGo + 2*inPage
		drain        = 12 * time.Second
	)
	var ended, cut atomic.Int64 // circuits, as peers see them
	ends := gateway.Listen(t, func(c *net.TCPConn) {
		if _, err := io.Copy(c, c); err == nil && c.CloseWrite() == nil {
			ended.Add(1)
		}
	})
	stays := gateway.Listen(t, func(c *net.TCPConn) {
		if _, err := io.Copy(c, c); err != nil {
			cut.Add(1)
		}
	})
	pages := map[string]*browser.Page{
		"chromium": browser.Start(t, "chromium", "drain.html"), "firefox": browser.Start(t, "firefox", "drain.html"),
	}
	args := []string{
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--dht", "off", "--no-connect-clients", "--drain", drain.String(),
		"--static", drainEnds + "=tcp://" + ends.Addr().String(), "--static", drainStays + "=tcp://" + stays.Addr().String(),
		"--max-sessions-per-principal", "-1", "--handshakes-per-address", "-1",
	}
	for _, page := range pages {
		args = append(args, "--allow-origin", page.Origin)
	}
	p := program.Start(t, args...)

	// topics are those of n sessions: one in five has a circuit that stays, two have one that ends.
	topics := func(n int) (on []string) {
		for i := range n {
			on = append(on, [...]string{drainStays, drainEnds, drainEnds, "", ""}[i%5])
		}
		return on
	}
	var visitors []*drainVisitor
	for _, transport := range []string{client.TransportQUIC, client.TransportWebSocket} {
		for _, on := range topics(inGo) {
			visitors = append(visitors, enterDrain(t, p, transport, on))
		}
	}
	for name, page := range pages {
		page.Call(t, "enter", map[string]any{
			"target": map[string]any{"url": "https://" + p.QUIC, "hashes": p.Certificate.Hashes}, "on": topics(inPage),
		}, nil)
		t.Logf("%s has its sessions", name)
	}
	expect := func(when string, want map[string]float64) {
		t.Helper()
		got := p.Metrics(t)
		for series, n := range want {
			if got[series] != n {
				t.Errorf("%s: %s = %v, want %v", when, series, got[series], n)
			}
		}
	}
	sessions := map[string]float64{
		"swarmgate_ready":                              1,
		`swarmgate_sessions{transport="quic"}`:         inGo,
		`swarmgate_sessions{transport="websocket"}`:    inGo,
		`swarmgate_sessions{transport="webtransport"}`: 2 * inPage,
		`swarmgate_circuits{network="static"}`:         all * 3 / 5,
	}
	expect("before", sessions)

	began := time.Now()
	var closing sync.WaitGroup
	closing.Go(func() { p.Terminate(t) })
	var goaways []farewell
	for _, v := range visitors {
		g := gateway.GoingAway(t, v.client)
		goaways = append(goaways, farewell{g.Code, g.RetryAfter.Milliseconds(), g.Reason})
	}
	for name, page := range pages {
		var told []farewell
		gateway.Eventually(t, "GOAWAY for each session in "+name, func() bool {
			page.Call(t, "goaways", nil, &told)
			return len(told) >= inPage
		})
		goaways = append(goaways, told...)
	}
	checkFarewells(t, goaways, all)

	var circuits sync.WaitGroup
	for _, v := range visitors {
		v.part(t, &circuits)
	}
	for name, page := range pages {
		var failed []string
		page.Call(t, "part", map[string]any{"stays": drainStays}, &failed)
		if len(failed) > 0 {
			t.Errorf("%s: circuits that end during the drain: %q", name, failed)
		}
	}
	circuits.Wait()
	gateway.Eventually(t, "the peers see the ends", func() bool { return ended.Load() == all*2/5 })
	if n := cut.Load(); n != 0 {
		t.Errorf("%d circuits were cut before the end of the drain", n)
	}
	sessions["swarmgate_ready"], sessions[`swarmgate_circuits{network="static"}`] = 0, all/5
	expect("during the drain", sessions)
	t.Logf("all were told, and had finished, %v after SIGTERM", time.Since(began).Round(time.Millisecond))

	closing.Wait()
	t.Logf("the gateway ended %v after SIGTERM", time.Since(began).Round(time.Millisecond))
	var partings []parting
	for _, v := range visitors {
		partings = append(partings, v.told())
	}
	for _, page := range pages {
		var told []parting
		page.Call(t, "ends", nil, &told)
		partings = append(partings, told...)
	}
	checkPartings(t, partings, all, began.Add(drain))
	gateway.Eventually(t, "the peers see that circuits are cut", func() bool { return cut.Load() == all/5 })
}

// checkFarewells checks that there are n GOAWAYs with their code and reason, and with times to
// come back of which not all are the same.
func checkFarewells(t *testing.T, got []farewell, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d GOAWAYs, want %d", len(got), n)
	}
	first, last := got[0].RetryAfter, got[0].RetryAfter
	for _, g := range got {
		first, last = min(first, g.RetryAfter), max(last, g.RetryAfter)
		if g.Code != wtproto.CodeShutdown || g.Reason != "the gateway is going away" {
			t.Errorf("GOAWAY %+v, want SHUTDOWN and the gateway's reason", g)
		}
	}
	if first < 1000 || last-first < 1000 { // they are spread over n/200 s
		t.Errorf("sessions come back after %d to %d ms, want a second at least, and more than a second between them", first, last)
	}
	t.Logf("%d GOAWAYs, to come back after %d to %d ms", len(got), first, last)
}

// checkPartings checks how n sessions have ended: none before due, nor a circuit that stays.
func checkPartings(t *testing.T, got []parting, n int, due time.Time) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d sessions have ended, want %d", len(got), n)
	}
	for _, p := range got {
		if p.End.Code != wtproto.CodeShutdown || p.End.Reason != "the gateway is closed" || p.End.Error != "" {
			t.Errorf("a session ended with %+v, want SHUTDOWN and the gateway's reason", p.End)
		}
		if p.EndedAt < due.UnixMilli() {
			t.Errorf("a session ended %d ms before the end of the drain", due.UnixMilli()-p.EndedAt)
		}
		if p.On != drainStays {
			continue
		}
		if p.Cut.Code != wtproto.CodePeerGone || p.Cut.Error != "" { // its session is over
			t.Errorf("a circuit was cut with %+v, want PEER_GONE", p.Cut)
		}
		if p.CutAt < due.UnixMilli() {
			t.Errorf("a circuit was cut %d ms before the end of the drain: %+v", due.UnixMilli()-p.CutAt, p.Cut)
		}
	}
}

// drainVisitor is a session in Go.
type drainVisitor struct {
	client *client.Client
	conn   *client.Conn   // nil without a circuit
	ending sync.WaitGroup // until parting is known
	parting
}

// enterDrain opens a session, with a circuit of the topic on unless that is "".
func enterDrain(t *testing.T, p *program.Program, transport, on string) *drainVisitor {
	t.Helper()
	v := &drainVisitor{parting: parting{On: on}}
	hash, err := hex.DecodeString(p.Certificate.Hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	if v.client, err = client.Dial(gateway.Context(t), p.QUIC, client.Config{
		CertHashes: [][32]byte{[32]byte(hash)}, Transports: []string{transport}, NoReconnect: true,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.client.Close() })
	if on != "" {
		v.conn = gateway.Accept(t, gateway.Join(t, v.client, wtproto.TopicFromName(on), client.JoinOptions{}))
		if err := v.exchange(100); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// exchange sends n bytes, and reads them back.
func (v *drainVisitor) exchange(n int) error {
	out, in := random(n, byte(n)), make([]byte, n)
	sent := make(chan error, 1)
	go func() {
		_, err := v.conn.Write(out)
		sent <- err
	}()
	_, err := io.ReadFull(v.conn, in)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(in, out) {
		return errors.New("the echo has other bytes")
	}
	return nil
}

// part ends a circuit that ends, which wg waits for, and uses one that stays until it is cut.
func (v *drainVisitor) part(t *testing.T, wg *sync.WaitGroup) {
	v.ending.Go(func() {
		<-v.client.Done()
		v.End, v.EndedAt = outcome(v.client.Err()), time.Now().UnixMilli()
	})
	switch v.On {
	case drainEnds:
		wg.Go(func() {
			if err := v.finish(); err != nil {
				t.Errorf("a circuit that ends during the drain: %v", err)
			}
		})
	case drainStays:
		v.ending.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for err := error(nil); err == nil; <-tick.C {
				if err = v.exchange(100); err != nil {
					v.Cut, v.CutAt = outcome(err), time.Now().UnixMilli()
				}
			}
		})
	}
}

// outcome returns err as a page would tell it.
func outcome(err error) browser.Outcome {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return browser.Outcome{Code: e.Code, Reason: e.Reason}
	}
	return browser.Outcome{Error: fmt.Sprint(err)}
}

// finish exchanges bytes and the end.
func (v *drainVisitor) finish() error {
	if err := v.exchange(50_000); err != nil {
		return err
	}
	if err := v.conn.CloseWrite(); err != nil {
		return err
	}
	if rest, err := io.ReadAll(v.conn); err != nil || len(rest) > 0 {
		return fmt.Errorf("%d bytes behind the echo, %w", len(rest), err)
	}
	return nil
}

// told returns how the session has ended.
func (v *drainVisitor) told() parting {
	v.ending.Wait()
	return v.parting
}
