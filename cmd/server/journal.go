package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalLines writes lines for systemd's journal, which takes the priority of a line from its
// beginning (sd-daemon(3)): journalctl --priority finds it then.
type journalLines struct {
	to       io.Writer
	priority journal.Priority
}

// forJournal returns what writes errors to w, which passes them on to file: as journalLines if
// that is where the journal reads.
func forJournal(file, w io.Writer) io.Writer {
	if file != io.Writer(os.Stderr) {
		return w
	}
	if reads, err := journal.StderrIsJournalStream(); err != nil || !reads {
		return w
	}
	return journalLines{w, journal.PriErr}
}

// Write writes one line.
func (l journalLines) Write(line []byte) (int, error) {
	if _, err := l.to.Write(append(fmt.Appendf(nil, "<%d>", l.priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// journalHandler is a log whose lines have the priorities of their levels.
type journalHandler struct{ debug, info, warn, err slog.Handler }

// newJournalHandler returns a handler whose lines are those that format makes.
func newJournalHandler(to io.Writer, format func(io.Writer) slog.Handler) journalHandler {
	at := func(p journal.Priority) slog.Handler { return format(journalLines{to, p}) }
	return journalHandler{at(journal.PriDebug), at(journal.PriInfo), at(journal.PriWarning), at(journal.PriErr)}
}

// of returns the handler for a level.
func (h journalHandler) of(l slog.Level) slog.Handler {
	switch {
	case l >= slog.LevelError:
		return h.err
	case l >= slog.LevelWarn:
		return h.warn
	case l >= slog.LevelInfo:
		return h.info
	}
	return h.debug
}

// Enabled is that of [slog.Handler], as are the following.
func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.of(l).Enabled(ctx, l)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h journalHandler) with(f func(slog.Handler) slog.Handler) slog.Handler {
	return journalHandler{f(h.debug), f(h.info), f(h.warn), f(h.err)}
}
