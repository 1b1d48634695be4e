package mdns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/internal/mcast"
)

// A goodbye by the other family, or from another address after the machine's had changed, left the
// old address until its records were over. It has the old source asked, which is gone if it does
// not answer. One who takes back what others say causes these questions, and no more.
func TestSuspect(t *testing.T) {
	const web = "web._swarmgate._tcp.local."
	const ptr = "_swarmgate._tcp.local. %d IN PTR " + web
	const srv = web + " %d IN SRV 0 0 80 host.local."
	told := []string{fmt.Sprintf(ptr, 4500), "!" + fmt.Sprintf(srv, 4500), web + " 4500 IN TXT topic=" + topicA.String(), "host.local. 4500 IN A 10.0.0.1"}
	asked := []string{"0 web SRV", "1 web SRV", "3 web SRV", "7 web SRV"}
	for _, tc := range []struct {
		name    string
		src     string
		lines   []string
		answers bool // the old source, after 2 s
		asked   []string
		stays   bool
	}{
		{"a goodbye by another source", "10.0.0.2", []string{fmt.Sprintf(ptr, 0)}, false, asked, false},
		{"of the service", "10.0.0.2", []string{fmt.Sprintf(srv, 0)}, false, asked, false},
		{"of its text", "10.0.0.2", []string{web + " 0 IN TXT topic=" + topicA.String()}, false, asked, false},
		{"by the other family", "fe80::1", []string{fmt.Sprintf(ptr, 0), fmt.Sprintf(srv, 0)}, false, asked, false},
		{"that is not true", "10.0.0.2", []string{fmt.Sprintf(ptr, 0)}, true, asked[:2], true},
		{"of another service", "10.0.0.2", []string{"_swarmgate._tcp.local. 0 IN PTR x." + web[4:]}, false, nil, true},
		{"of a host", "10.0.0.2", []string{"host.local. 0 IN A 10.0.0.1"}, false, nil, true},
		{"a new service record by another source", "10.0.0.2", []string{"!" + fmt.Sprintf(srv, 120)}, false, asked, false},
		{"that is not true either", "10.0.0.2", []string{"!" + fmt.Sprintf(srv, 120)}, true, asked[:2], true},
		{"a shared one", "10.0.0.2", []string{fmt.Sprintf(srv, 120)}, false, nil, true},
		{"one by the other family", "fe80::1", []string{"!" + fmt.Sprintf(srv, 120)}, false, nil, true},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			l := newLab(false)
			l.known = make(map[string]bool)
			l.r.setLinks([]link{{1, mcast.IPv4}, {1, mcast.IPv6}}, func(link) bool { return false }, l.now)
			l.hear("10.0.0.1", told...)
			l.run(300 * time.Second)
			l.begin = l.now
			l.took()
			has := func(claims []claim) bool {
				return slices.ContainsFunc(claims, func(c claim) bool { return c.addr == from("10.0.0.1").addr })
			}
			l.hear(tc.src, tc.lines...)
			l.run(2 * time.Second)
			if tc.answers {
				l.hear("10.0.0.1", told[1])
			}
			l.hear(tc.src, tc.lines...) // once more, as responders do
			claims := l.run(7900 * time.Millisecond)
			if !has(claims) {
				t.Error("gone before 10 s are over")
			}
			if claims = l.run(200 * time.Millisecond); has(claims) != tc.stays {
				t.Errorf("there after 10 s: %v, want %v", has(claims), tc.stays)
			}
			got := slices.DeleteFunc(l.took(), func(s string) bool { return !strings.HasSuffix(s, "web SRV") || strings.HasPrefix(s, "10") })
			if !slices.Equal(got, tc.asked) {
				t.Errorf("asked %q, want %q", got, tc.asked)
			}
		})
	}
}

// Who takes back what others say, thousands of times, has as many questions asked as one who tells
// of things, and nobody is gone who answers or is not asked.
func TestRechecksForOneMachineAreFew(t *testing.T) {
	l := newLab(false)
	l.known = make(map[string]bool)
	var said, back []string
	for i := range 100 {
		x := fmt.Sprintf("s%d._swarmgate._tcp.local.", i)
		said = append(said, "_swarmgate._tcp.local. 4500 IN PTR "+x, x+" 4500 IN SRV 0 0 80 host.local.", x+" 4500 IN TXT topic="+topicA.String())
		back = append(back, x+" 0 IN SRV 0 0 80 host.local.")
	}
	l.hear("10.0.0.1", append(said, "host.local. 4500 IN A 10.0.0.1")...)
	l.run(time.Minute)
	l.took()
	answered := 0
	for range 600 {
		l.hear("10.0.0.66", back...)
		claims := l.run(100 * time.Millisecond)
		if len(claims) != 100 {
			t.Fatalf("%d services, want 100", len(claims))
		}
		for _, q := range l.took() {
			name, isSRV := strings.CutSuffix(q[strings.Index(q, " ")+1:], " SRV")
			if answered++; isSRV {
				l.hear("10.0.0.1", name+"._swarmgate._tcp.local. 4500 IN SRV 0 0 80 host.local.")
			}
		}
	}
	if most := asksAtOnce + 61*asksPerSecond; answered > most || answered == 0 {
		t.Errorf("%d questions in a minute, want at most %d", answered, most)
	}
	if n := len(l.r.cache.services); n != 100 {
		t.Errorf("%d services are known, want 100", n)
	}
	l.r.cache.keep(func(origin) bool { return false })
	if n := len(l.r.cache.services); n != 0 {
		t.Errorf("%d services of nobody are known", n)
	}
}

// A machine that says by IPv4 alone that its service has ended, or comes with another address, is
// believed within 12 s.
func TestServiceMovesOrEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lan := scripted(t, Config{})
		both := service4("web", topicA, "10.0.0.1", "fe80::1")
		moved, again := service4("web", topicA, "10.0.0.2"), service4("web", topicA, "10.0.0.3")
		now := func(at time.Duration, x thing, src string) { // says so, and is all that answers
			time.AfterFunc(at, func() {
				lan.respond(responder{1, src, x.records(4500)})
				lan.say(1, src, x.records(4500)...)
			})
		}
		lan.sayAt(time.Second, 1, "10.0.0.1", both.records(4500)...)
		lan.sayAt(time.Second, 1, "fe80::1", both.records(4500)...)
		lan.sayAt(30*time.Second, 1, "10.0.0.1", both.records(0)...)
		now(60*time.Second, moved, "10.0.0.2")
		now(90*time.Second, again, "10.0.0.3")
		start(t, n)
		wantEvents(t, events(t, n, topicA, 2*time.Minute), ev(time.Second, "tcp://10.0.0.1:80"), ev(31*time.Second, "tcp://[fe80::1%eth0]:80"),
			ev(40*time.Second, "gone tcp://[fe80::1%eth0]:80"), ev(60*time.Second, "tcp://10.0.0.2:80"),
			ev(90*time.Second, "tcp://10.0.0.2:80"), ev(100*time.Second, "tcp://10.0.0.3:80"))
	})
}
