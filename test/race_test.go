package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A room is tested once more if the race detector has crashed in it, and nothing else has failed.
func TestRace(t *testing.T) {
	const (
		good  = "ok  \tm/good\t1.2s\n"
		none  = "?   \tm/none\t[no test files]\n"
		crash = "ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346 \"((exiting)) != (0)\" (0x0, 0x0) (tid=1)\nFAIL\tm/crash\t1.2s\n"
		bad   = "--- FAIL: TestX (0.00s)\n    x_test.go:1: no\nFAIL\nFAIL\tm/bad\t1.2s\n"
		build = "# m/build\nx.go:1:1: no\nFAIL\tm/build [build failed]\n"
	)
	for name, tc := range map[string]struct {
		first  string // output of the first run
		fails  bool
		second bool // a second run fails too
		again  string
		want   bool
	}{
		"all good":                  {first: good + none, want: true},
		"a failure":                 {first: good + bad + "FAIL\n", fails: true},
		"one that is not built":     {first: build + good + "FAIL\n", fails: true},
		"a crash":                   {first: good + crash + none + "FAIL\n", fails: true, again: "m/crash", want: true},
		"a crash, and again":        {first: crash + good + "FAIL\n", fails: true, again: "m/crash", second: true},
		"a crash beside a failure":  {first: crash + bad + "FAIL\n", fails: true},
		"a failure before a crash":  {first: bad + crash + "FAIL\n", fails: true},
		"a crash after a failure":   {first: "--- FAIL: TestX (0.00s)\n" + crash + "FAIL\n", fails: true},
		"a crash that nobody knows": {first: "fatal error: x\nFAIL\tm/crash\t1.2s\nFAIL\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string, mode os.FileMode) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
					t.Fatal(err)
				}
			}
			status := map[bool]string{true: "exit 1", false: "exit 0"}
			write("first", tc.first, 0o644)
			write("go", "#!/bin/sh\ncd "+dir+"\necho \"$@\" >>calls\n[ -e once ] && "+status[tc.second]+"\ntouch once\ncat first\n"+status[tc.fails]+"\n", 0o755)
			cmd := exec.Command("./race.sh", "m/good", "m/crash")
			cmd.Env = append(os.Environ(), "GO="+filepath.Join(dir, "go"))
			out, err := cmd.CombinedOutput()
			if (err == nil) != tc.want {
				t.Errorf("race.sh: %v\n%s", err, out)
			}
			calls, err := os.ReadFile(filepath.Join(dir, "calls"))
			if err != nil {
				t.Fatal(err)
			}
			const flags = "test -race -shuffle=on -p 4 -timeout 20m "
			want := flags + "m/good m/crash\n"
			if tc.again != "" {
				want += flags + tc.again + "\n"
			}
			if string(calls) != want || !strings.HasPrefix(string(out), tc.first) {
				t.Errorf("go was called with\n%swant\n%sand all of its output:\n%s", calls, want, out)
			}
		})
	}
}
