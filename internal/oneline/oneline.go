// Package oneline joins errors that belong together, such as those of all tried addresses.
// [errors.Join] has a line for each; here all are in one line, and each cause occurs once: "a:1,
// b:2: connection refused; c:3: no such host".
package oneline

import (
	"fmt"
	"strings"
)

// Failure is an error of one of several things.
type Failure struct {
	Of  string // names the failed thing; empty if Err does
	Err error
}

// Error is the failure alone.
func (f Failure) Error() string {
	if f.Of == "" {
		return f.Err.Error()
	}
	return fmt.Sprintf("%s: %v", f.Of, f.Err)
}

// Unwrap returns Err.
func (f Failure) Unwrap() error { return f.Err }

// Join returns an error that wraps all failures in their order, or nil if there are none.
func Join(failures ...Failure) error {
	switch len(failures) {
	case 0:
		return nil
	case 1:
		return failures[0]
	}
	return all(failures)
}

// all is more than one failure.
type all []Failure

// Error has each cause once, after the things that it concerns.
func (a all) Error() string {
	var parts []string
	of := make(map[string]int) // a cause's place in parts
	for _, f := range a {
		cause := line(f.Err.Error())
		i, known := of[cause]
		switch {
		case known && f.Of == "":
		case known:
			parts[i] += ", " + f.Of
		default:
			of[cause] = len(parts)
			parts = append(parts, f.Of)
		}
	}
	for cause, i := range of {
		if parts[i] != "" {
			cause = parts[i] + ": " + cause
		}
		parts[i] = cause
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the failures.
func (a all) Unwrap() []error {
	errs := make([]error, len(a))
	for i, f := range a {
		errs[i] = f
	}
	return errs
}

// line puts the lines of errors.Join, and of libraries, into one.
func line(text string) string {
	var parts []string
	for part := range strings.Lines(text) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

// Text returns the text of err in one line.
func Text(err error) string { return line(err.Error()) }
