package main

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/internal/envvar"
)

// envPrefix begins the names of the program's variables.
const envPrefix = "SWARMGATE"

// swarmVariables are those of cmd/swarm, which a shell may have exported.
var swarmVariables = []string{"SWARMGATE_GATEWAY", "SWARMGATE_SECRET", "SWARMGATE_TOKEN", "SWARMGATE_TRANSPORT"}

// serviceVariable matches the names of variables that Kubernetes gives every container, for each
// Service whose name begins with swarmgate.
var serviceVariable = regexp.MustCompile(`^SWARMGATE(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environment is the part of the environment that begins with SWARMGATE_, and that the options do
// not read by themselves.
type environment struct {
	mistakes []error // one for each variable that is a misspelt option
	notes    []note
}

// note is a line of the log about a variable that is no mistake, but may not be what was meant.
type note struct{ message, variable string }

// readEnvironment returns what variables, in the form of os.Environ, say wrong about options whose
// variables are known.
func readEnvironment(variables, known []string) (e environment) {
	for _, v := range slices.Sorted(slices.Values(variables)) {
		name, value, _ := strings.Cut(v, "=")
		upper := strings.ToUpper(name)
		if !strings.HasPrefix(upper, envPrefix+"_") || slices.Contains(swarmVariables, name) || serviceVariable.MatchString(name) {
			continue
		}
		if slices.Contains(known, name) {
			if name == envPrefix+"_CONFIG" && envvar.Blank(value) {
				e.notes = append(e.notes, note{"there is no configuration file: the variable is empty", name})
			}
			continue
		}
		if near, ok := nearest(upper, known); ok {
			e.mistakes = append(e.mistakes, fmt.Errorf("%s is not an option; did you mean %s?", name, near))
		} else {
			e.notes = append(e.notes, note{"ignoring a variable that is not an option", name})
		}
	}
	return e
}

// logNotes logs the notes of the environment.
func (o *options) logNotes(log *slog.Logger) {
	for _, n := range o.notes {
		log.Warn(n.message, "variable", n.variable)
	}
}

// nearest returns the one of known that a person who wrote name could have meant: one that differs
// in a letter, or in two if it is long.
func nearest(name string, known []string) (near string, ok bool) {
	least := 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, k); d < least && d <= max(1, len(strings.TrimPrefix(k, envPrefix+"_"))/3) {
			near, least = k, d
		}
	}
	return near, near != ""
}

// inEnvironment reports whether the environment has a value for f, after envvar.IgnoreBlank.
func inEnvironment(f *kong.Flag) bool { return len(f.Tag.Envs) > 0 }
