package main

import (
	"errors"
	"strings"
	"testing"

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
