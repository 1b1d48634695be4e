package main

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalctl --priority warning found nothing of the gateway, because all lines that a program
// writes to standard error have the same priority unless they begin with another one.
func TestJournalHasPriorities(t *testing.T) {
	var b strings.Builder
	to := journalLines{&b, journal.PriErr}
	log := newLogger(&options{}, to).With("a", 1)
	log.Info("is")
	log.WithGroup("g").Warn("may be", "b", 2)
	log.Error("was")
	log.Debug("is not shown")
	report(to, errors.Join(errors.New("one"), errors.New("two")))
	var got []string
	for line := range strings.Lines(b.String()) {
		priority, rest, _ := strings.Cut(line, ">")
		_, rest, said := strings.Cut(rest, "level=")
		if !said {
			rest = strings.TrimPrefix(line, priority+">")
		}
		got = append(got, priority+">"+rest)
	}
	want := "<6>INFO msg=is a=1\n<4>WARN msg=\"may be\" a=1 g.b=2\n<3>ERROR msg=was a=1\n<3>swarmgate: one\n<3>swarmgate: two\n"
	if all := strings.Join(got, ""); all != want {
		t.Errorf("the journal gets\n%s\nwant\n%s", all, want)
	}
	if w := forJournal(&b, &b); w != &b {
		t.Errorf("a file that is not standard error gets %T", w)
	}
}

// pausedFile takes nothing until it is told to go on.
type pausedFile struct {
	resume chan struct{}
	strings.Builder
}

func (f *pausedFile) Write(b []byte) (int, error) {
	<-f.resume
	return f.Builder.Write(b)
}

// So many mistakes in the configuration that lines were lost ended the program with a nil pointer:
// the log in which it wanted to say so was not there yet.
func TestLinesLostBeforeTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := pausedFile{resume: make(chan struct{})}
		lines, stderr, _ := openLog(&file)
		for range 3 << 10 {
			report(stderr, errors.New(strings.Repeat("x", 1<<10)))
		}
		close(file.resume)
		synctest.Wait()
		lines.Close(time.Minute)
		if text := file.String(); !strings.Contains(text, "swarmgate: xxx") || !strings.Contains(text, "lost_lines=") {
			t.Errorf("of mistakes and their loss %d bytes say nothing", len(text))
		}
	})
}
