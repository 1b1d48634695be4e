package main

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestPeopleRead(t *testing.T) {
	dht := &peerInfo{ID: "00", Host: "12D3KooWQTFKYiqSGnK9fQ", Network: "dht"}
	for _, c := range []struct {
		event event
		want  string
	}{
		{event{Event: "gone", Peer: &peerInfo{ID: "00"}}, ""}, // the line of who is here says so
		{event{Event: "waiting"}, "✗ waiting for a peer\n"},
		{event{Event: "listening", Address: "127.0.0.1:2222"}, "✓ listening on 127.0.0.1:2222\n"},
		{event{Event: "refused", Address: "127.0.0.1:5", Message: "DECLINED"}, "✗ no stream for 127.0.0.1:5: DECLINED\n"},
		{event{Event: "end"}, ""},
		{event{Event: "end", Message: "PEER_RESET: \x1b[2Jgone"}, "✗ a peer was cut off: PEER_RESET:  [2Jgone\n"},
		{event{Event: "reconnecting", Attempt: 3}, ""},
		{event{Event: "warning", Message: "be careful"}, "✗ be careful\n"},
		{event{Event: "left", Topic: "00"}, ""},
		{readyEvent(readyLine{ID: dht.Host}, topicArg{name: "wowcool"}), "✓ peer 12D3…K9fQ on wowcool\n"},
	} {
		if got := (&terminal{}).line(c.event); got != c.want {
			t.Errorf("%s: %q, want %q", c.event.Event, got, c.want)
		}
	}
	t.Setenv("NO_COLOR", "1")
	if newTerminal(io.Discard).colors {
		t.Error("colors with NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	if got, want := newTerminal(io.Discard).line(event{Event: "listening", Address: "a"}), "\x1b[32m✓ \x1b[0mlistening on a\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// People read one line of who is there a second after they joined, and none after the end.
func TestPeopleReadWhoIsThere(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := newTerminal(&out)
		e := &events{terminal: p}
		wowcool := topicArg{name: "wowcool", Topic: wtproto.TopicFromName("wowcool")}
		e.joined(wowcool, "", client.TransportQUIC)
		p.setPeers([]string{"dht 12D3…K9fQ"})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		p.setPeers(nil)
		p.close()
		time.Sleep(time.Hour)
		if got, want := out.String(), "✓ joined wowcool · 1 peer (dht 12D3…K9fQ)\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}

		out.Reset()
		p = newTerminal(&out)
		e = &events{terminal: p}
		e.joined(wowcool, "", client.TransportWebSocket)
		p.setPeers([]string{"a"})
		p.setPeers(nil)
		p.close() // it was over within the second
		if got, want := out.String(), "✓ joined wowcool over WebSocket · 1 peer (a)\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}

		out.Reset()
		p = newTerminal(&out)
		e = &events{terminal: p}
		_ = e.ready(readyLine{ID: "12D3KooWQTFKYiqSGnK9fQ"}, wowcool)
		dht := newPeerInfo([]byte{1}, "dht", "", true, false)
		e.peer(1, dht)
		e.peer(2, dht)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e.end(1, traffic{}, nil)
		e.end(2, traffic{}, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		p.close()
		if got, want := out.String(), "✓ peer 12D3…K9fQ on wowcool\n✓ 1 peer (dht 01)\n✓ no peers, dht 01 left\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
