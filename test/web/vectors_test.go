//go:build !race

package web

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
)

// web/test's vectors and fuzz, which run under node with the unit tests, hold in the browsers too,
// and none of them is left out.
func TestVectorsInBrowsers(t *testing.T) {
	t.Parallel()
	want := 1 // that of test/browser/nodetest.js
	for _, name := range []string{"vectors", "fuzz"} {
		source, err := os.ReadFile("../../web/test/" + name + ".test.ts")
		if err != nil {
			t.Fatal(err)
		}
		want += len(regexp.MustCompile(`(?m)^ *test\('`).FindAll(source, -1)) // but those that are made for each vector
	}
	files, err := filepath.Glob("../../wtproto/testdata/vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of vectors, %v", len(files), err)
	}
	for _, file := range files {
		var v struct{ Vectors, URLs []json.RawMessage }
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		want += len(v.Vectors) + len(v.URLs)
	}
	browser.EachPage(t, "vectors.html", func(t *testing.T, page *browser.Page) {
		var got struct {
			Passed int
			Failed []string
		}
		page.Call(t, "run", nil, &got)
		if got.Passed != want || len(got.Failed) > 0 {
			t.Errorf("%d passed and %d failed, want %d and none:\n%s", got.Passed, len(got.Failed), want, strings.Join(got.Failed, "\n"))
		}
		t.Logf("%d passed", got.Passed)
	})
}
