package oneline

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		failures []Failure
		want     string
	}{
		{[]Failure{{"a:1", io.EOF}}, "a:1: EOF"},
		{[]Failure{{"", io.EOF}}, "EOF"},
		{[]Failure{{"a:1", io.EOF}, {"b:2", io.ErrNoProgress}, {"c:3", io.EOF}}, "a:1, c:3: EOF; b:2: " + io.ErrNoProgress.Error()},
		{[]Failure{{"a:1", errors.Join(io.EOF, net.ErrClosed)}, {"b:2", io.EOF}}, "a:1: EOF; " + net.ErrClosed.Error() + "; b:2: EOF"},
		{[]Failure{{"", io.EOF}, {"", io.EOF}}, "EOF"},
	} {
		err := Join(c.failures...)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v: %q, want %q", c.failures, err, c.want)
		}
		for _, f := range c.failures {
			if !errors.Is(err, f.Err) {
				t.Errorf("%v: is not %v", c.failures, f.Err)
			}
		}
	}
	if err := Join(); err != nil {
		t.Errorf("no failures: %v, want nil", err)
	}
}

func TestText(t *testing.T) {
	err := fmt.Errorf("dial: %w", errors.Join(io.EOF, errors.New("failed:\n  * [/ip4/127.0.0.1] refused\n")))
	if got, want := Text(err), "dial: EOF; failed:; * [/ip4/127.0.0.1] refused"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
