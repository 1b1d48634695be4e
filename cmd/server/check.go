package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// check prints all mistakes of a configuration: those that parse found, and those in the files and
// directories that it names. It returns the exit status. Warnings are log lines.
func check(o *options, mistakes error, stdout, stderr io.Writer) int {
	o.LogLevel = max(o.LogLevel, slog.LevelWarn) // what a start would log at info has not happened
	log := newLogger(o, stderr)
	o.logNotes(log)
	g := &gateway{log: log, metrics: newMetrics(), peek: true}
	_, stateErr := g.openState(o)
	if err := errors.Join(mistakes, stateErr, g.openAuthorizer(o), g.close()); err != nil {
		report(stderr, err)
		return statusUsage
	}
	fmt.Fprintln(stdout, "swarmgate: no mistakes")
	return 0
}
