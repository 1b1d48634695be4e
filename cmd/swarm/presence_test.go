package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What happens is written as a time in milliseconds and a word; lines come when they are due.
func TestPresence(t *testing.T) {
	for _, c := range []struct {
		name, story, want string
	}{
		{"alone", "0 joined", "1000 ✓ joined wowcool · no peers"},
		{"one", "0 joined; 300 here dht 12D3…K9fQ", "1000 ✓ joined wowcool · 1 peer (dht 12D3…K9fQ)"},
		{"two at once", "0 joined; 300 here a; 500 here a,b", "1000 ✓ joined wowcool · 2 peers (a, b)"},
		{"who has left already", "0 joined; 300 here a; 500 here", "1000 ✓ joined wowcool · 1 peer (a)"},
		{"many", "0 joined; 300 here a,b,c,d,e", "1000 ✓ joined wowcool · 5 peers (a, b, c and 2 more)"},
		{
			"later", "0 joined; 2000 here a; 9000 here a,b; 20000 here b",
			"1000 ✓ joined wowcool · no peers\n3000 ✓ 1 peer (a)\n10000 ✓ 2 peers, b joined\n21000 ✓ 1 peer, a left",
		},
		{"for a moment", "0 joined; 2000 here a; 2100 here", "1000 ✓ joined wowcool · no peers"},
		{
			"lost and back", "0 joined; 10 here a; 5000 lost; 5000 here; 5900 connected; 6100 here a",
			"1000 ✓ joined wowcool · 1 peer (a)\n6900 ✓ connection lost and back after 0.9s · 1 peer (a)",
		},
		{
			"lost for long", "0 joined; 10 here a; 5000 lost; 5000 here; 19000 connected; 19100 here a",
			"1000 ✓ joined wowcool · 1 peer (a)\n7000 ✗ connection lost: SHUTDOWN\n20000 ✓ connected again after 14s · 1 peer (a)",
		},
		{
			"back without peers", "0 joined; 10 here a; 5000 lost; 5000 here; 5900 connected; 8000 here a",
			"1000 ✓ joined wowcool · 1 peer (a)\n6900 ✓ connection lost and back after 0.9s\n9000 ✓ 1 peer (a)",
		},
		{"moved", "0 joined; 5000 connected", "1000 ✓ joined wowcool · no peers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p presence
			var got []string
			start := time.Unix(0, 0)
			tell := func(until time.Time) {
				for !p.due.IsZero() && !p.due.After(until) {
					at := p.due.Sub(start).Milliseconds()
					if words, good := p.line(); words != "" {
						mark := map[bool]string{true: "✓", false: "✗"}[good]
						got = append(got, fmt.Sprint(at, " ", mark, " ", words))
					}
				}
			}
			for step := range strings.SplitSeq(c.story, "; ") {
				var ms int
				var what string
				fmt.Sscan(step, &ms, &what)
				now := start.Add(time.Duration(ms) * time.Millisecond)
				tell(now)
				switch what {
				case "joined":
					p.joined("wowcool", now)
				case "here":
					_, names, _ := strings.Cut(step, "here")
					var peers []string
					if names = strings.TrimSpace(names); names != "" {
						peers = strings.Split(names, ",")
					}
					p.setPeers(peers, now)
				case "lost":
					p.disconnected("SHUTDOWN", now)
				case "connected":
					p.connected("", now)
				}
			}
			tell(start.Add(time.Hour))
			if got := strings.Join(got, "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
