package client

import (
	"fmt"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ name, do, want string }{
		{"nobody", "", ""},
		{"in the order of meeting", "+a +b +c", "a b c"},
		{"who gave a stream is asked again", "+a +b +c =b", "b a c"},
		{"and the same one after that", "+a +b =b =b +c", "b a c"},
		{"who failed comes last", "+a +b +c -a", "b c a"},
		{"of those that failed the one that waits longest is first", "+a +b +c -a -b", "c a b"},
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
		if i == 0 {
			all.succeed(Peer{ID: []byte("0")})
		}
	}
	if got := all.order(); len(got) != maxCandidates || string(got[0].ID) != "0" {
		t.Errorf("%d peers, the first is %s; want %d, and the one in use", len(got), got[0].ID, maxCandidates)
	}
	for i := range 2 * maxCandidates {
		all.fail(Peer{ID: fmt.Append(nil, "f", i)})
	}
	if got := len(all.order()); got != maxCandidates {
		t.Errorf("%d peers, want %d", got, maxCandidates)
	}
}
