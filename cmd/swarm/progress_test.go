package main

import "testing"

func TestCaption(t *testing.T) {
	for _, c := range []struct {
		files      int
		name, want string
	}{
		{1, "a.bin", "a.bin"},
		{1, "ein-größeres-Archiv-2026.zip", "ein-größeres-Archiv-202…"},
		{2, "a.bin", "2 files"},
	} {
		if got := caption(c.files, c.name); got != c.want {
			t.Errorf("%d, %s: %q, want %q", c.files, c.name, got, c.want)
		}
	}
}
