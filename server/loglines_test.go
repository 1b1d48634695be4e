package server

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// One client that comes and goes wrote two lines of log for each of its sessions, as fast as it
// could.
func TestLinesAboutSessions(t *testing.T) {
	seen := newTally()
	inBubble(t, Config{Observer: seen.observer()}, func(t *testing.T, g *bubble) {
		const sessions, over = linesBurst + 100, 10
		visit := func() {
			c := g.connect()
			c.link.end(nil)
			synctest.Wait()
		}
		for range sessions {
			visit()
		}
		pass(over * time.Second)
		for range over {
			visit()
		}
		for _, line := range []string{"session started", "session ended"} {
			if n := g.log.count(line); n != linesBurst+over*linesPerSecond {
				t.Errorf("%q is there %d times, want %d", line, n, linesBurst+over*linesPerSecond)
			}
		}
		if seen.hits[LimitLogLines] != sessions-linesBurst || len(seen.hits) != 1 {
			t.Errorf("met %v, want %s %d times", seen.hits, LimitLogLines, sessions-linesBurst)
		}
	})
}

// Whoever announces peers that refuse, or has the gateway join topics while a network fails, wrote
// a line for each.
func TestLinesAboutFailures(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour, DefaultPeers: 1}, func(t *testing.T, g *bubble) {
		c := g.connect()
		c.join(wtproto.JoinLookUp, 0)
		for i := range 50 {
			p := g.lan.peer(fmt.Sprint(i))
			p.refuses(wtproto.CodeBusy)
			g.lan.see(p.sighting())
		}
		pass(time.Second)
		if n := g.log.count("peer refused"); n != 1 {
			t.Errorf("50 peers refused: logged %d times, want once", n)
		}
		pass(logEvery)
		late := g.lan.peer("late")
		late.refuses(wtproto.CodeBusy)
		g.lan.see(late.sighting())
		pass(time.Minute)
		if n := g.log.count("peer refused"); n != 2 {
			t.Errorf("a minute later another one: logged %d times, want twice", n)
		}
		for i := range 20 {
			wantCodes(t, c.topics(i, i))
			synctest.Wait()
		}
		pass(2 * time.Second) // all of them are on the network
		g.lan.tell(news{err: wtproto.Errorf(wtproto.CodePeerUnreachable, "no seed")})
		pass(time.Second)
		if n := g.log.count("network failing"); n != 1 {
			t.Errorf("a network failed for 21 topics: logged %d times, want once", n)
		}
	})
}

func TestSeldom(t *testing.T) {
	var s seldom
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		after time.Duration
		want  slog.Level
	}{
		{0, slog.LevelInfo},
		{0, slog.LevelDebug},
		{logEvery - 1, slog.LevelDebug},
		{1, slog.LevelInfo},
		{1, slog.LevelDebug},
		{10 * logEvery, slog.LevelInfo},
	} {
		now = now.Add(step.after)
		if got := s.level(slog.LevelInfo, now); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
