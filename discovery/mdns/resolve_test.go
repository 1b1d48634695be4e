package mdns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/internal/mcast"
)

// lab is a resolver with one link, and a clock that jumps to when there is something to do.
type lab struct {
	r     *resolver
	begin time.Time
	now   time.Time
	asked []string // what was asked, and after how many seconds
	known map[string]bool
}

func newLab(anyHost bool) *lab {
	l := &lab{r: newResolver([]*service{topicService}, anyHost), begin: time.Unix(1e9, 0)}
	l.now = l.begin
	l.r.setLinks([]link{{1, mcast.IPv4}}, func(link) bool { return false }, l.now)
	return l
}

// hear has src say lines.
func (l *lab) hear(src string, lines ...string) { l.r.take(from(src), answersIn(lines...), l.now) }

// run settles whenever that is due for d, and returns the claims of the last time.
func (l *lab) run(d time.Duration) (claims []claim) {
	end := l.now.Add(d)
	for {
		queries, got, next := l.r.settle(l.now)
		claims = got
		for _, q := range queries {
			for _, x := range q.questions {
				name, _, _ := strings.Cut(x.Name, ".")
				l.asked = append(l.asked, fmt.Sprintf("%.0f %s %s", l.now.Sub(l.begin).Seconds(), name, dns.TypeToString[x.Qtype]))
			}
			for _, k := range q.known {
				l.known[k.(*dns.PTR).Ptr] = true
			}
		}
		if next.IsZero() || next.After(end) {
			l.now = end
			return claims
		}
		if !next.After(l.now) {
			panic("the clock stands still")
		}
		l.now = next
	}
}

// took returns what was asked since the last call.
func (l *lab) took() []string {
	out := l.asked
	l.asked = nil
	return out
}

// Instances are asked for after 1, 2, 4 and so on seconds, and at last every hour (RFC 6762, 5.2).
func TestBrowsingSlowsDown(t *testing.T) {
	l := newLab(false)
	l.run(3 * time.Hour)
	var want []string
	at, delay := 0, 1
	for at < 3*3600 {
		want = append(want, fmt.Sprintf("%d _swarmgate PTR", at))
		at, delay = at+delay, min(2*delay, 3600)
	}
	if got := l.took(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	l.r.refresh(l.now)
	l.run(4 * time.Second)
	if got := len(l.took()); got != 3 {
		t.Errorf("asked %d times for a new interest, want 3", got)
	}
	l.r.refresh(l.now)
	l.run(time.Second)
	if got := l.took(); len(got) != 0 {
		t.Errorf("asked %q for the next one, want nothing", got)
	}
}

// What is missing is asked for at once, with growing delays, and no more once it is there or
// nobody says any more that it is.
func TestMissingIsAskedFor(t *testing.T) {
	l := newLab(false)
	l.run(100 * time.Second)
	l.took()
	const web = "web._swarmgate._tcp.local."
	l.hear("10.0.0.1", "_swarmgate._tcp.local. 4500 IN PTR "+web)
	l.run(10 * time.Second)
	want := []string{"100 web TXT", "100 web SRV", "101 web TXT", "101 web SRV", "103 web TXT", "103 web SRV", "107 web TXT", "107 web SRV"}
	if got := l.took(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	l.hear("10.0.0.1", web+" 4500 IN SRV 0 0 80 host.local.", web+" 4500 IN TXT topic="+topicA.String())
	if claims := l.run(2 * time.Second); len(claims) != 0 {
		t.Errorf("claims %+v without an address", claims)
	}
	if got, want := l.took(), []string{"110 host A", "111 host A"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	l.hear("10.0.0.1", "host.local. 4500 IN A 10.0.0.1")
	if claims := l.run(10 * time.Second); len(claims) != 1 || claims[0].instance != web || claims[0].port != 80 || claims[0].foreign {
		t.Errorf("claims %+v, want the service", claims)
	}
	if got := l.took(); len(got) != 0 || len(l.r.asks) != 0 {
		t.Errorf("asked %q, and has %d questions, want none", got, len(l.r.asks))
	}
}

// A record is asked for again at 80, 85, 90 and 95 % of its time, and once it was said again not
// before that is due anew.
func TestRecordsAreRefreshed(t *testing.T) {
	l := newLab(false)
	l.known = make(map[string]bool)
	l.run(2000 * time.Second)
	const web = "web._swarmgate._tcp.local."
	all := []string{
		"_swarmgate._tcp.local. 4500 IN PTR " + web, web + " 4500 IN TXT topic=" + topicA.String(),
		web + " 1000 IN SRV 0 0 80 host.local.", "host.local. 4500 IN A 10.0.0.1",
	}
	l.hear("10.0.0.1", all...)
	l.took()
	l.run(999 * time.Second)
	var at []int
	for _, s := range l.took() {
		var second int
		if _, err := fmt.Sscanf(s, "%d web SRV", &second); err == nil {
			at = append(at, second-2000)
		}
	}
	if len(at) != 4 {
		t.Fatalf("asked for SRV after %v, want 4 times", at)
	}
	for i, want := range []int{800, 850, 900, 950} {
		if at[i] < want || at[i] > want+21 {
			t.Errorf("asked for SRV after %d s, want %d to %d", at[i], want, want+20)
		}
	}
	l.hear("10.0.0.1", all...)
	l.run(790 * time.Second)
	if got := l.took(); slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, "SRV") }) {
		t.Errorf("asked %q, too early", got)
	}
	l.run(2000 * time.Second)
	clear(l.known)
	l.took()
	if l.r.refresh(l.now); !l.r.links[link{1, mcast.IPv4}].next.Equal(l.now) {
		t.Error("not asked anew")
	}
	l.hear("10.0.0.1", all...)
	if l.run(0); !l.known[web] {
		t.Errorf("told of %v as known, want %s", l.known, web)
	}
}

// What a liar says of an instance does not keep its machine from telling: it is not among the
// known answers.
func TestKnownAnswersAreThoseOfAll(t *testing.T) {
	const web = "web._swarmgate._tcp.local."
	ptr := "_swarmgate._tcp.local. 4500 IN PTR " + web
	full := []string{ptr, web + " 4500 IN SRV 0 0 80 host.local.", web + " 4500 IN TXT topic=" + topicA.String()}
	for _, tc := range []struct {
		name string
		hear func(l *lab)
		want bool
	}{
		{"full", func(l *lab) { l.hear("10.0.0.1", append(full, "host.local. 4500 IN A 10.0.0.1")...) }, true},
		{"without an address", func(l *lab) { l.hear("10.0.0.1", full...) }, false},
		{"of another machine", func(l *lab) { l.hear("10.0.0.1", append(full, "host.local. 4500 IN A 10.0.0.2")...) }, false},
		{"said by another one as well", func(l *lab) {
			l.hear("10.0.0.1", append(full, "host.local. 4500 IN A 10.0.0.1")...)
			l.hear("10.0.0.2", ptr)
		}, false},
		{"half of its time is over", func(l *lab) {
			l.hear("10.0.0.1", append(full, "host.local. 4500 IN A 10.0.0.1")...)
			l.run(2300 * time.Second)
		}, false},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			l := newLab(false)
			l.known = make(map[string]bool)
			l.run(time.Hour)
			clear(l.known)
			tc.hear(l)
			clear(l.known)
			l.r.refresh(l.now)
			if l.run(0); l.known[web] != tc.want {
				t.Errorf("known answers %v, want %v", l.known, tc.want)
			}
		})
	}
}

// The questions for the sake of one machine are few, whatever it says.
func TestQuestionsForOneMachineAreFew(t *testing.T) {
	l := newLab(false)
	l.run(time.Minute)
	l.took()
	for i := range 60 {
		for k := range 100 {
			l.hear("10.0.0.66", fmt.Sprintf("_swarmgate._tcp.local. 1 IN PTR s%d-%d._swarmgate._tcp.local.", i, k))
		}
		l.run(time.Second)
	}
	if got := len(l.took()); got > asksAtOnce+61*asksPerSecond+10 {
		t.Errorf("%d questions in a minute", got)
	}
	if len(l.r.asks) > 2*maxOwn {
		t.Errorf("%d questions are remembered", len(l.r.asks))
	}
}

// Long lists of known answers go in several packets, of which all but the last say that more
// follow.
func TestPackQuery(t *testing.T) {
	var known []dns.RR
	for i := range 100 {
		known = append(known, rrs(fmt.Sprintf("_swarmgate._tcp.local. 4500 IN PTR %s%d._swarmgate._tcp.local.", strings.Repeat("x", 40), i))...)
	}
	var many []dns.Question
	for i := range 100 {
		many = append(many, dns.Question{Name: fmt.Sprintf("%s%d._swarmgate._tcp.local.", strings.Repeat("y", 40), i), Qtype: dns.TypeSRV, Qclass: dns.ClassINET})
	}
	many = append(many, topicService.browsing())
	for _, tc := range []struct {
		name      string
		questions []dns.Question
		known     []dns.RR
		packets   int
	}{
		{"one question", many[100:], nil, 1},
		{"many questions", many, nil, 5},
		{"known answers", many[100:], known[:5], 1},
		{"many known answers", many[100:], known, 7},
		{"both", many, known, 12},
		{"too many known answers", many[100:], slices.Repeat(known, 10), maxPackets},
	} {
		got := packQuery(tc.questions, tc.known)
		if len(got) < tc.packets-1 || len(got) > tc.packets+3 || len(got) > maxPackets+5 {
			t.Errorf("%s: %d packets, want about %d", tc.name, len(got), tc.packets)
		}
		questions, answers := 0, 0
		for i, b := range got {
			m := new(dns.Msg)
			if err := m.Unpack(b); err != nil || len(b) > maxQuery+12 {
				t.Fatalf("%s: %d bytes, %v", tc.name, len(b), err)
			}
			if questions += len(m.Question); questions < len(tc.questions) && (m.Truncated || len(m.Answer) > 0) {
				t.Errorf("%s: known answers before the last question", tc.name)
			}
			if more := i < len(got)-1 && questions == len(tc.questions); m.Truncated != more {
				t.Errorf("%s: packet %d says that more follow: %v", tc.name, i, m.Truncated)
			}
			answers += len(m.Answer)
		}
		if questions != len(tc.questions) || answers > len(tc.known) || answers < min(len(tc.known), 100) {
			t.Errorf("%s: %d questions and %d answers", tc.name, questions, answers)
		}
	}
}
