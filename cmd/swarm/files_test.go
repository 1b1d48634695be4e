package main

import (
	"testing"
)

func TestNamesOfStrangersStayBelowTheDirectory(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"a", "a"},
		{"dir/a", "dir/a"},
		{"../a", "a"},
		{"/etc/passwd", "passwd"},
		{"a/../../b", "b"},
		{"..", "file"},
		{"/", "file"},
		{"", "file"},
		{".", "file"},
		{"a\nb", "a_b"},
		{`C:\a`, "C__a"},
		{"a/./b", "a/./b"},
	} {
		if got := safeName(c.name); got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
}
