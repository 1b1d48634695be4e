package follow

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// joined is the value of these tests: what is in all files, which must not be "bad".
func joined(contents [][]byte) (*string, error) {
	var all strings.Builder
	for _, c := range contents {
		all.Write(c)
	}
	s := all.String()
	if strings.Contains(s, "bad") {
		return nil, errors.New("bad content")
	}
	return &s, nil
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Files are looked at once a second at most; what is bad or gone is reported once, and the value
// stays what it was.
func TestFilesFollow(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "a1")
	write(t, b, "b1")
	synctest.Test(t, func(t *testing.T) {
		var reports []string
		f, err := New([]string{a, b}, joined, func(now *string, err error) {
			if err != nil {
				reports = append(reports, "error")
			} else {
				reports = append(reports, *now)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name   string
			change func()
			after  time.Duration
			want   string
			report string
		}{
			{"unchanged", func() {}, time.Second, "a1b1", ""},
			{"changed, too early", func() { write(t, a, "a2") }, time.Second - 1, "a1b1", ""},
			{"changed", func() {}, 1, "a2b1", "a2b1"},
			{"bad", func() { write(t, b, "bad") }, time.Second, "a2b1", "error"},
			{"still bad", func() {}, time.Second, "a2b1", ""},
			{"gone", func() { os.Remove(b) }, time.Second, "a2b1", "error"},
			{"still gone", func() {}, time.Second, "a2b1", ""},
			{"back", func() { write(t, b, "b2") }, time.Second, "a2b2", "a2b2"},
		} {
			step.change()
			time.Sleep(step.after)
			reports = nil
			if got := *f.Value(); got != step.want || strings.Join(reports, " ") != step.report {
				t.Errorf("%s: %q with reports %q, want %q with %q", step.name, got, reports, step.want, step.report)
			}
		}
	})
}

// Whoever reads a certificate and its key while both are replaced has one that is old and one that
// is new. That was an error at the start, and a line in the log later.
func TestFilesAreReplacedWhileTheyAreRead(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	alike := func(contents [][]byte) (*string, error) {
		if string(contents[0]) != string(contents[1]) {
			write(t, a, string(contents[1])) // the other one was read before this
			return nil, errors.New("they do not belong together")
		}
		return joined(contents)
	}
	synctest.Test(t, func(t *testing.T) {
		write(t, a, "1")
		write(t, b, "2")
		f, err := New([]string{a, b}, alike, func(now *string, err error) {
			if err != nil {
				t.Errorf("reported: %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		write(t, b, "3")
		time.Sleep(time.Second)
		if got := *f.Value(); got != "33" {
			t.Errorf("the value is %s, want 33", got)
		}
	})
}

func TestNewFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for _, content := range []string{"", "bad"} {
		if content != "" {
			write(t, path, content)
		}
		if _, err := New([]string{path}, joined, nil); err == nil {
			t.Errorf("New took %q", content)
		}
	}
}
