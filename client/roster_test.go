package client

import (
	"fmt"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A peer is here until it is known to have gone. Once the end of any circuit took it off the list
// if that was the last one, whoever had ended it, and nothing else did.
func TestRoster(t *testing.T) {
	for _, tt := range []struct {
		name, do string // +x: x has a circuit, *x: a further one, !x: one that the program has taken
		want     string // who is here, and how many stays there were
	}{
		{"nobody", "", " 0"},
		{"in the order of coming", "+a +b +a", "ab 2"},
		{"the peer ends its only circuit", "+a there:a", " 1"},
		{"it has another one", "+a +a there:a", "a 1"},
		{"and ends that too", "+a +a there:a there:a", " 1"},
		{"this end closes its only circuit", "+a here:a", "a 1"},
		{"and the peer is met again", "+a here:a +a there:a", " 1"},
		{"this end closes, the peer is lost", "+a here:a +a lost:a", " 1"},
		{"the peer ends what is idle", "+a here:a *a there:a", "a 1"},
		{"the connection with such a peer is lost", "+a *a there:a lost:a", " 1"},
		{"it has gone and comes again", "+a there:a +a", "a 2"},
		{"Open does not reach it", "+a gone:a", " 1"},
		{"Open does not reach it after this end has closed", "!a here:a gone:a", " 1"},
		{"Open does not reach it, and there is a circuit", "!a gone:a", "a 1"},
		{"and this end closes that", "!a *a gone:a here:a here:a", " 1"},
		{"unless Open has reached it since", "!a gone:a *a here:a here:a", "a 1"},
		{"its session is lost", "+a +b here:b session", " 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r roster
			s := new(session)
			open := make(map[string][]*Conn)
			for word := range strings.FieldsSeq(tt.do) {
				what, id := word[:1], word[1:]
				if verb, whose, ok := strings.Cut(word, ":"); ok {
					what, id = verb, whose
				}
				p := Peer{Network: "n", ID: []byte(id), Further: what == "*"}
				switch how, ends := map[string]ending{"here": endedHere, "there": endedThere, "lost": endedLost}[what]; {
				case ends:
					c := open[id][0]
					open[id] = open[id][1:]
					r.end(c, how)
					r.end(c, how) // nothing more
				case what == "gone":
					r.unreachable(p)
				case word == "session":
					r.lose(s)
				default:
					c := &Conn{peer: p, session: s, taken: what == "!"}
					open[id] = append(open[id], c)
					r.add(c)
					if r.add(c) {
						t.Error("a circuit was added twice")
					}
				}
			}
			got := ""
			for _, m := range r.members() {
				got += string(m.peer.ID)
			}
			if got = fmt.Sprint(got, " ", r.last); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.do, got, tt.want)
			}
		})
	}
}

// Peers that this end has closed all circuits with are forgotten when there are too many, the
// oldest first.
func TestRosterIsBounded(t *testing.T) {
	var r roster
	for i := range maxIdle + 3 {
		c := &Conn{peer: Peer{Network: "n", ID: fmt.Append(nil, i)}}
		r.add(c)
		gone := r.end(c, endedHere)
		if i < maxIdle && gone != nil || i >= maxIdle && (len(gone) != 1 || string(gone[0].ID) != fmt.Sprint(i-maxIdle)) {
			t.Fatalf("after %d peers %v have gone", i+1, gone)
		}
	}
	if n := len(r.members()); n != maxIdle {
		t.Errorf("%d peers, want %d", n, maxIdle)
	}
}

func TestChanges(t *testing.T) {
	var r roster
	a, b := &Conn{peer: Peer{Network: "n", ID: []byte("a")}}, &Conn{peer: Peer{Network: "n", ID: []byte("b")}}
	r.add(a)
	r.add(b)
	before := r.members()
	r.end(a, endedThere)
	r.add(a) // it comes again
	left, joined := changes(before, r.members())
	if len(left) != 1 || len(joined) != 1 || !left[0].same(a.peer) || !joined[0].same(a.peer) {
		t.Errorf("changes = %v, %v, want that one has left and joined", left, joined)
	}
	if left, joined := changes(r.members(), r.members()); left != nil || joined != nil {
		t.Errorf("changes of nothing = %v, %v", left, joined)
	}
}

func TestEndingOf(t *testing.T) {
	for code, want := range map[wtproto.Code]ending{
		wtproto.CodePeerGone: endedLost, wtproto.CodeLeft: endedLost, wtproto.CodeReplaced: endedLost,
		wtproto.CodePeerReset: endedThere, wtproto.CodeDeclined: endedThere, wtproto.CodeApplication: endedThere,
	} {
		if got := endingOf(code); got != want {
			t.Errorf("endingOf(%v) = %v, want %v", code, got, want)
		}
	}
}
