package wtproto

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Reasons are made from the errors of other people's libraries. A long or broken reason in a LEFT
// once made the receiver end the whole session, so Append cuts and repairs text.
func TestAppendCutsText(t *testing.T) {
	euros := strings.Repeat("€", 400) // 3 bytes each, 1024 is within one
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"as long as may be", strings.Repeat("a", MaxReason), strings.Repeat("a", MaxReason)},
		{"a byte too long", strings.Repeat("a", MaxReason+1), strings.Repeat("a", MaxReason)},
		{"cut between characters", euros, strings.Repeat("€", MaxReason/3)},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"a cut character at the end", "ab\xe2\x82", "ab\uFFFD"},
		{"not UTF-8, and longer once repaired", strings.Repeat("a\xff", MaxReason/2), strings.Repeat("a\uFFFD", MaxReason/4)},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, payload := oneFrame(t, Left{Reason: test.in}.Append(nil))
			got, err := ParseLeft(payload)
			if err != nil || got.Reason != test.want {
				t.Errorf("LEFT with %q was read as %q, %v, want %q", test.in, got.Reason, err, test.want)
			}
		})
	}
}

// Every text of every message is repaired, and cut at its own limit.
func TestAppendCutsEachText(t *testing.T) {
	for _, test := range []struct {
		with  func(text string) message
		text  func(message) string
		limit int
	}{
		{func(s string) message { return Hello{Version: 1, Credit: MinCredit, Agent: s} }, func(m message) string { return m.(Hello).Agent }, MaxAgent},
		{func(s string) message { return Welcome{Agent: s} }, func(m message) string { return m.(Welcome).Agent }, MaxAgent},
		{func(s string) message { return Left{Reason: s} }, func(m message) string { return m.(Left).Reason }, MaxReason},
		{func(s string) message { return Goaway{Reason: s} }, func(m message) string { return m.(Goaway).Reason }, MaxReason},
		{func(s string) message { return Status{Networks: []NetworkStatus{{Name: s}}} }, func(m message) string { return m.(Status).Networks[0].Name }, MaxNetwork},
		{func(s string) message { return Status{Networks: []NetworkStatus{{Reason: s}}} }, func(m message) string { return m.(Status).Networks[0].Reason }, MaxNetworkReason},
		{func(s string) message { return Join{Networks: []string{"dht", s}} }, func(m message) string { return m.(Join).Networks[1] }, MaxNetwork},
		{func(s string) message { return Connect{Network: s} }, func(m message) string { return m.(Connect).Network }, MaxNetwork},
		{func(s string) message { return Refused{Reason: s} }, func(m message) string { return m.(Refused).Reason }, MaxReason},
		{func(s string) message { return Peer{Circuit: 1, Network: s} }, func(m message) string { return m.(Peer).Network }, MaxNetwork},
		{func(s string) message { return Peer{Circuit: 1, Address: s} }, func(m message) string { return m.(Peer).Address }, MaxAddress},
	} {
		for in, want := range map[string]string{
			"a\xffb":                          "a\uFFFDb",
			strings.Repeat("a", test.limit):   strings.Repeat("a", test.limit),
			strings.Repeat("a", test.limit+1): strings.Repeat("a", test.limit),
		} {
			typ, payload := oneFrame(t, test.with(in).Append(nil))
			m, err := parsers[typ](payload)
			if err != nil || test.text(m) != want {
				t.Errorf("%v with text %q was read as %+v, %v, want %q", typ, in, m, err, want)
			}
		}
	}
}

func TestGoawayRetryAfter(t *testing.T) {
	for _, test := range []struct{ in, want time.Duration }{
		{0, 0},
		{-time.Second, 0},
		{time.Microsecond, 0},
		{1999 * time.Microsecond, time.Millisecond},
		{time.Hour, time.Hour},
		{1000 * time.Hour * 24, math.MaxUint32 * time.Millisecond},
		{math.MaxInt64, math.MaxUint32 * time.Millisecond},
	} {
		_, payload := oneFrame(t, Goaway{RetryAfter: test.in}.Append(nil))
		if got, err := ParseGoaway(payload); err != nil || got.RetryAfter != test.want {
			t.Errorf("retry after %v was read as %v, %v, want %v", test.in, got.RetryAfter, err, test.want)
		}
	}
}

// A number that no varint holds is a mistake of the caller, not something to send.
func TestAppendPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Append of a number of 63 bits did not panic")
		}
	}()
	Credit{Circuit: 1, Offset: 1 << 62}.Append(nil)
}

// No message that keeps its limits is longer than a frame may be.
func TestLongestFrames(t *testing.T) {
	const most = 1<<62 - 1
	text := strings.Repeat("a", MaxPayload)
	networks := make([]NetworkStatus, MaxNetworks)
	for i := range networks {
		networks[i] = NetworkStatus{Name: text, State: most, Found: most, Connecting: most, Refused: most, LastCode: math.MaxUint32, Reason: text}
	}
	ids := make([]EndpointID, MaxEndpoints)
	for _, m := range []message{
		Hello{Version: most, Flags: most, Credit: most, Token: make([]byte, MaxToken), Agent: text, Circuits: most},
		Welcome{Version: most, MaxTopics: most, MaxCircuits: most, Hashes: make([][32]byte, MaxHashes), Agent: text},
		Join{Flags: most, MaxPeers: most, Networks: slices.Repeat([]string{text}, MaxNetworks)},
		Left{Code: math.MaxUint32, Reason: text},
		Status{Known: most, Connected: most, Networks: networks},
		Peer{Circuit: most, Flags: most, Network: text, ID: make([]byte, MaxPeerID), Address: text},
		Connect{Flags: most, Network: text, ID: make([]byte, MaxPeerID)},
		Refused{Code: math.MaxUint32, Reason: text},
		Goaway{Code: math.MaxUint32, RetryAfter: math.MaxInt64, Reason: text},
		Meet{Flags: most, Endpoints: ids},
		Met{Code: math.MaxUint32, Endpoints: ids},
		Endpoints{Endpoints: ids},
		Host{Flags: most},
		Part{Code: math.MaxUint32},
		Guess{Tags: make([]Tag, MaxTags)},
	} {
		typ, payload := oneFrame(t, m.Append(nil)) // fails if it is too long
		if _, err := parsers[typ](payload); err != nil {
			t.Errorf("%v with everything at its limit: %v", typ, err)
		}
	}
}
