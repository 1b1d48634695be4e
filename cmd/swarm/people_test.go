package main

import "testing"

func TestPeopleRead(t *testing.T) {
	dht := &peer{ID: "00", Host: "12D3KooWQTFKYiqSGnK9fQ", Network: "dht"}
	further := &peer{ID: "de9571a4fa3ee9d9afee1424fb20a67d", Network: "client", Further: true}
	for _, c := range []struct {
		event event
		want  string
	}{
		{event{Event: "joined", Name: "wowcool"}, "✓ joined wowcool\n"},
		{event{Event: "peer", Peer: dht}, "✓ peer dht 12D3…K9fQ\n"},
		{event{Event: "peer", Peer: further}, ""},
		{event{Event: "found", Peer: further}, "✓ peer client de95…a67d\n"},
		{event{Event: "listening", Address: "127.0.0.1:2222"}, "✓ listening on 127.0.0.1:2222\n"},
		{event{Event: "refused", Address: "127.0.0.1:5", Message: "DECLINED"}, "✗ no stream for 127.0.0.1:5: DECLINED\n"},
		{event{Event: "end"}, ""},
		{event{Event: "end", Message: "PEER_RESET: \x1b[2Jgone"}, "✗ a peer was cut off: PEER_RESET:  [2Jgone\n"},
		{event{Event: "disconnected", Message: "the gateway is silent"}, "✗ connection lost: the gateway is silent\n"},
		{event{Event: "reconnecting", Attempt: 3}, ""},
		{event{Event: "warning", Message: "be careful"}, "✗ be careful\n"},
		{event{Event: "connected", Message: "https://g"}, "✓ connected again\n"},
		{event{Event: "left", Topic: "00"}, ""},
		{readyEvent(readyLine{ID: dht.Host}, topicArg{name: "wowcool"}), "✓ peer 12D3…K9fQ on wowcool\n"},
	} {
		if got := (people{}).line(c.event); got != c.want {
			t.Errorf("%s: %q, want %q", c.event.Event, got, c.want)
		}
	}
	t.Setenv("NO_COLOR", "1")
	if newPeople().colors {
		t.Error("colors with NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	if got, want := newPeople().line(event{Event: "joined", Name: "a"}), "\x1b[32m✓ \x1b[0mjoined a\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
