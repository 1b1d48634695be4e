package client

import (
	"fmt"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ name, do, want string }{
		{"nobody", "", ""},
		{"who came last is first", "+a +b +c", "c b a"},
		{"who gave a stream is asked again", "+a +b +c =b", "b c a"},
		{"and the same one after that", "+a +b =a =a", "a b"},
		{"a server that crashed and the one that was started instead of it", "+a =a +b", "b a"},
		{"who failed comes last", "+a +b +c -c", "b a c"},
		{"of those that failed the one that waits longest is first", "+a +b +c -c -b", "a c b"},
		{"one that failed and was met again is like new", "+a +b -a -b +a", "a b"},
		{"one that failed and then gave a stream is the first", "+a +b -a =a", "a b"},
		{"nobody twice", "+a +a", "a"},
	} {
		var all candidates
		for word := range strings.FieldsSeq(c.do) {
			p := Peer{Network: "n", ID: []byte(word[1:])}
			switch word[0] {
			case '+':
				all.add(p)
			case '-':
				all.fail(p)
			default:
				all.succeed(p)
			}
		}
		var got []string
		for _, p := range all.order() {
			got = append(got, string(p.ID))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestCandidatesAreBounded(t *testing.T) {
	var all candidates
	for i := range 2 * maxCandidates {
		all.add(Peer{ID: fmt.Append(nil, i)})
	}
	if got := all.order(); len(got) != maxCandidates || string(got[0].ID) != "511" {
		t.Errorf("%d peers, the first is %s; want %d, and the newest", len(got), got[0].ID, maxCandidates)
	}
	for i := range 2 * maxCandidates {
		all.fail(Peer{ID: fmt.Append(nil, "f", i)})
	}
	if got := len(all.order()); got != maxCandidates {
		t.Errorf("%d peers, want %d", got, maxCandidates)
	}
}
