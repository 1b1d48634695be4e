package server

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// gatewayLimits returns the rows of PROTOCOL.md's table of a gateway's limits: what it is of, and
// the rest.
func gatewayLimits(t *testing.T) map[string][2]string {
	t.Helper()
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(doc), "\n| of | at most | above it |\n|---|---|---|\n")
	table, _, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatal("PROTOCOL.md has no table of a gateway's limits")
	}
	rows := make(map[string][2]string)
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 {
			t.Fatalf("row %q has no 3 cells", line)
		}
		rows[cells[0]] = [2]string{cells[1], cells[2]}
	}
	return rows
}

// grouped returns n with commas between its thousands.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// The document's table says what the program does.
func TestProtocolLimitsAreThoseOfTheProgram(t *testing.T) {
	c := Config{}.withDefaults()
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	rows := gatewayLimits(t)
	said := make(map[LimitName]bool)
	for _, test := range []struct {
		of    string
		most  string // how the second cell begins
		code  wtproto.Code
		limit LimitName // empty if it is not one of Limits
	}{
		{"connections that begin, of an address", fmt.Sprintf("%v a second", c.HandshakesPerAddress), wtproto.CodeNone, LimitHandshakes},
		{"connections without a session", grouped(c.maxVisits()), wtproto.CodeBusy, LimitVisits},
		{"connections without a session, of an address", grouped(c.MaxSessionsPerPrincipal), wtproto.CodeRateLimited, LimitVisitsAddress},
		{"sessions of an address that wait for leave to come in", grouped(authorizingOfAddress), wtproto.CodeBusy, LimitAuthorizing},
		{"sessions", grouped(c.MaxSessions), wtproto.CodeBusy, LimitSessions},
		{"sessions of a principal", grouped(c.MaxSessionsPerPrincipal), wtproto.CodeRateLimited, LimitSessionsPrincipal},
		{"topics of a session", grouped(c.MaxTopics), wtproto.CodeTopicLimit, LimitTopicsSession},
		{"topics of a principal, those that it left less than 15 s ago too", grouped(c.MaxTopicsPerPrincipal), wtproto.CodeTopicLimit, LimitTopicsPrincipal},
		{"topics of the gateway", grouped(c.MaxTopicsTotal), wtproto.CodeBusy, LimitTopics},
		{"topics that nobody is on, joined by a principal", fmt.Sprintf("%d a minute", c.NewTopics), wtproto.CodeRateLimited, LimitNewTopics},
		{"circuits of a session, offers included", grouped(c.MaxCircuits), wtproto.CodeNone, LimitCircuitsSession},
		{"further circuits of a session with one peer on a topic", grouped(c.MaxPairCircuits), wtproto.CodeCircuitLimit, LimitCircuitsPair},
		{"circuits of a principal", grouped(c.MaxCircuitsPerPrincipal), wtproto.CodeNone, LimitCircuitsPrincipal},
		{"circuits that a principal begins", fmt.Sprintf("%d a second", c.NewCircuits), wtproto.CodeNone, LimitNewCircuits},
		{"circuits of the gateway", grouped(c.MaxCircuitsTotal), wtproto.CodeNone, LimitCircuits},
		{"circuits of a session on a topic", fmt.Sprintf("max peers of JOIN, %d if 0, %d of them with other clients", c.DefaultPeers, defaultMates), wtproto.CodeNone, ""},
		{"streams of a client", grouped(c.circuits() + spareStreams), wtproto.CodeNone, ""},
		{"JOIN, LEAVE, DECLINE and PING together", fmt.Sprintf("%v a second, %d at once", c.ControlRate, c.ControlBurst), wtproto.CodeRateLimited, LimitFrames},
		{"all control frames, and streams that come to nothing", fmt.Sprintf("%s a second", grouped(framesOfEachAsk*int(c.ControlRate))), wtproto.CodeRateLimited, LimitAllFrames},
		{"the same of a principal, JOIN, LEAVE, DECLINE, PING and CONNECT eleven times", fmt.Sprintf("%s a second", grouped(framesOfEachAsk*framesOfPrincipal*int(c.ControlRate))), wtproto.CodeNone, LimitFramesPrincipal},
		{"unread control frames, besides STATUS", fmt.Sprintf("%d KiB", c.MaxControlBytes>>10), wtproto.CodeBusy, LimitControlUnread},
		{"HELLO after the connection", seconds(c.HelloTimeout), wtproto.CodeIdle, ""},
		{"first message of a WebSocket", seconds(c.HelloTimeout), wtproto.CodeIdle, ""},
		{"a WebSocket that does not answer Ping", seconds(2 * c.WebSocketPing), wtproto.CodeNone, ""},
		{"message of bytes over WebSocket", grouped(wtproto.MaxBinary) + " bytes", wtproto.CodeTooLarge, ""},
		{"text over WebSocket", grouped(wtproto.MaxSignal) + " bytes", wtproto.CodeTooLarge, ""},
		{"messages that say nothing, of a WebSocket", fmt.Sprintf("%d a second, %d at once", idleRate, idleBurst), wtproto.CodeRateLimited, ""},
		{"bytes that a client sends on a stream over WebSocket before they are read", grouped(initialSocketWindow) + "; up to " + fmt.Sprintf("%d MiB", socketWindow>>20), wtproto.CodeProtocol, ""},
		{"first frame of a stream", seconds(c.FirstFrameTimeout), wtproto.CodeIdle, ""},
		{"offer", seconds(c.OfferTimeout), wtproto.CodeWithdrawn, ""},
		{"silence on the control stream", seconds(c.Idle) + "; " + seconds(c.Silence) + " with circuits", wtproto.CodeIdle, ""},
		{"silence of a connection (QUIC's idle timeout)", seconds(c.Idle + idleCode), wtproto.CodeNone, ""},
		{"an HTTP/3 connection without a session", seconds(requestsOnly), wtproto.CodeNone, ""},
		{"bytes of all circuits of a token", "what it says", wtproto.CodeForbidden, LimitBytes},
		{"memory in use", "three fifths", wtproto.CodeBusy, LimitMemory},
		{"memory in use while circuits are not read", "seven tenths", wtproto.CodeStalled, LimitUnread},
	} {
		row, ok := rows[test.of]
		delete(rows, test.of)
		if !ok || !strings.HasPrefix(row[0], test.most) || test.code != wtproto.CodeNone && !strings.Contains(row[1], test.code.String()) {
			t.Errorf("%s: %q, want %q and %v", test.of, row, test.most, test.code)
		}
		said[test.limit] = true
		if test.limit != "" && test.code != wtproto.CodeNone && codeOfLimit(test.limit) != test.code {
			t.Errorf("%s: the program says %v, want %v", test.of, codeOfLimit(test.limit), test.code)
		}
	}
	for of := range rows {
		t.Errorf("the document has the limit %q, which this test does not know", of)
	}
	for _, l := range Limits() {
		switch l.Name {
		case LimitFailedDials, LimitFailedDialsTopic, LimitDialsTarget, LimitByteRate, LimitHTTP, LimitHTTPAddress, LimitAnswers, LimitAnswersAddress, LimitLogLines:
			continue // which no client of a session is told
		}
		if !said[l.Name] {
			t.Errorf("the document does not say the limit %s", l.Name)
		}
	}
}
