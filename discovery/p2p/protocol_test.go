package p2p

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// protocolSection returns a section of PROTOCOL.md.
func protocolSection(t *testing.T, title string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(b), "\n## "+title+"\n")
	if !found {
		t.Fatalf("PROTOCOL.md has no section %q", title)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

var codeRow = regexp.MustCompile(`(?m)^\| ([A-Z_]+(?:, [A-Z_]+)*) \|`)

// codeRows returns the names of codes in the first column of the table under a heading row.
func codeRows(t *testing.T, section, heading string) []string {
	t.Helper()
	_, table, found := strings.Cut(section, "\n"+heading+"\n")
	if !found {
		t.Fatalf("no table %q", heading)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var codes []string
	for _, row := range codeRow.FindAllStringSubmatch(table, -1) {
		codes = append(codes, strings.Split(row[1], ", ")...)
	}
	return codes
}

// compare fails unless rows are the names of the keys of cases.
func compare(t *testing.T, what string, rows []string, cases map[wtproto.Code]func(*testing.T) wtproto.Code) {
	t.Helper()
	var names []string
	for c := range cases {
		names = append(names, c.String())
	}
	slices.Sort(names)
	slices.Sort(rows)
	if !slices.Equal(names, rows) {
		t.Errorf("PROTOCOL.md has %v as refusals in %s, this test has %v", rows, what, names)
	}
	for _, want := range slices.Sorted(maps.Keys(cases)) {
		t.Run(want.String(), func(t *testing.T) {
			if got := cases[want](t); got != want {
				t.Errorf("%s has %v, want %v", what, got, want)
			}
		})
	}
}

// The document and the program had four codes each for OPENED and MET that the other did not have.
// Each code of the document's table of MET comes when it says, and no other one is in it.
func TestProtocolMetCodes(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(key(large)))
	join(t, h, discovery.Native(), nil)
	var tp *topic
	eventually(t, "the host is on the topic", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		tp = h.topics[testTopic.Digest()]
		return tp != nil
	})
	s := newStranger(t, small)
	ask := func(t *testing.T, h *Host, s stranger, m wtproto.Meet) wtproto.Code {
		t.Helper()
		st := s.link(h, 0)
		write(t, st, m.Append(nil))
		met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
		if err != nil {
			t.Fatal(err)
		}
		if met.Code != wtproto.CodeNone {
			if met.Digest != m.Digest || met.Proof != [32]byte{} || met.State != 0 || len(met.Endpoints) > 0 {
				t.Errorf("MET = %+v, want zeros besides digest and code", met)
			}
		}
		return met.Code
	}
	compare(t, "MET", codeRows(t, protocolSection(t, "11. Meeting"), "| code | when |"), map[wtproto.Code]func(*testing.T) wtproto.Code{
		wtproto.CodeForbidden: func(t *testing.T) wtproto.Code {
			m := s.meet(h)
			m.Proof[0] ^= 1
			return ask(t, h, s, m)
		},
		wtproto.CodeRateLimited: func(t *testing.T) wtproto.Code {
			for range 100 {
				if c := ask(t, h, s, s.meet(h)); c != wtproto.CodeNone {
					return c
				}
			}
			return wtproto.CodeNone
		},
		wtproto.CodeTopicLimit: func(t *testing.T) wtproto.Code {
			_, k := keys(t)
			s := newStranger(t, k)
			st := s.link(h, 0)
			h.links.mu.Lock()
			n := h.links.hosts[s.ID()]
			for i := range maxLinkTopics { // as if the two had met on so many others
				n.meetings[[32]byte{byte(i >> 8), byte(i)}] = nil
			}
			h.links.mu.Unlock()
			defer func() {
				h.links.mu.Lock()
				clear(n.meetings)
				h.links.mu.Unlock()
			}()
			write(t, st, s.meet(h).Append(nil))
			met, err := wtproto.ParseMet(read(t, st, wtproto.TypeMet))
			if err != nil {
				t.Fatal(err)
			}
			return met.Code
		},
		wtproto.CodeBusy: func(t *testing.T) wtproto.Code {
			_, k := keys(t)
			s := newStranger(t, k)
			tp.mu.Lock()
			before := tp.meetings
			tp.meetings = tp.newMeetings()
			meetAll(t, tp.meetings, tp.meetings.most(), time.Now()) // a moment ago, so that none of them makes room
			tp.mu.Unlock()
			defer func() {
				tp.mu.Lock()
				tp.meetings = before
				tp.mu.Unlock()
			}()
			return ask(t, h, s, s.meet(h))
		},
	})
}

// The same for OPENED.
func TestProtocolOpenedCodes(t *testing.T) {
	small, large := keys(t)
	h := listen(t, key(large))
	m := join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	ask := func(t *testing.T, s stranger, h *Host, m *member, change func(*wtproto.Open), answer func(discovery.Inbound)) wtproto.Code {
		t.Helper()
		o := wtproto.Open{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofOpen, h.id), From: endpoint(1)}
		change(&o)
		st := s.open(h)
		write(t, st, o.Append(nil))
		if answer != nil {
			answer(m.await("the circuit", isInbound).sighting.Inbound)
		}
		opened, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened))
		if err != nil {
			t.Fatal(err)
		}
		if opened.Code != wtproto.CodeNone && opened.Proof != [32]byte{} {
			t.Errorf("OPENED = %+v, want zeros besides the code", opened)
		}
		return opened.Code
	}
	same := func(*wtproto.Open) {}
	refused := func(c wtproto.Code) func(t *testing.T) wtproto.Code {
		return func(t *testing.T) wtproto.Code {
			return ask(t, s, h, m, same, func(in discovery.Inbound) { in.Refuse(c) })
		}
	}
	compare(t, "OPENED", codeRows(t, protocolSection(t, "12. Opening circuits"), "| code of OPENED | when |"), map[wtproto.Code]func(*testing.T) wtproto.Code{
		wtproto.CodeForbidden: func(t *testing.T) wtproto.Code {
			return ask(t, s, h, m, func(o *wtproto.Open) { o.Proof[0] ^= 1 }, nil)
		},
		wtproto.CodeProtocol: func(t *testing.T) wtproto.Code {
			g := listen(t, gateway)
			join(t, g, presence(true, true, endpoint(9)), nil)
			return ask(t, s, g, nil, func(o *wtproto.Open) {
				o.From, o.To, o.Proof = nativeEndpoint, endpoint(9), s.prove(wtproto.ProofOpen, g.id)
			}, nil)
		},
		wtproto.CodePeerUnreachable: func(t *testing.T) wtproto.Code {
			return ask(t, s, h, m, func(o *wtproto.Open) { o.To = endpoint(2) }, nil)
		},
		wtproto.CodeBusy: func(t *testing.T) wtproto.Code {
			hasty := listen(t, func(c *Config) { c.AnswerTimeout = time.Second })
			s := newStranger(t, smaller(t, hasty.id))
			return ask(t, s, hasty, join(t, hasty, discovery.Native(), nil), same, func(discovery.Inbound) {}) // no answer from the program
		},
		wtproto.CodeCircuitLimit: refused(wtproto.CodeCircuitLimit),
		wtproto.CodeDeclined:     refused(wtproto.CodeDeclined),
		wtproto.CodeLeft: func(t *testing.T) wtproto.Code {
			return ask(t, s, h, m, same, func(discovery.Inbound) { go m.leave() })
		},
	})
}

// The document's table of limits between hosts says what the program does.
func TestProtocolLimits(t *testing.T) {
	grouped := func(n int) string {
		if n < 1000 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	h := listen(t, func(c *Config) { c.Mode = Off })
	answer := fmt.Sprintf("%.0f s", h.AnswerTimeout.Seconds())
	_, table, _ := strings.Cut(protocolSection(t, "13. Limits"), "\n| between hosts | at most | above it |\n|---|---|---|\n")
	rows := make(map[string][2]string)
	for row := range strings.Lines(table) {
		if cells := strings.Split(strings.Trim(row, "| \n"), " | "); len(cells) == 3 {
			rows[cells[0]] = [2]string{cells[1], cells[2]}
		}
	}
	for _, tc := range []struct {
		of, most string
		code     wtproto.Code
	}{
		{"first frame of a stream", answer, wtproto.CodeIdle},
		{"HOST, MET, OPENED", answer, wtproto.CodeIdle},
		{"streams that have not said what they are, or wait for OPENED, of an address", fmt.Sprintf("%d, and %s in all", maxPending, grouped(maxPendingAll)), wtproto.CodeBusy},
		{"circuits with another host", grouped(MaxCircuits), wtproto.CodeCircuitLimit},
		{"topics that a gateway asks for on a link, or meets on", grouped(maxLinkTopics), wtproto.CodeTopicLimit},
		{"MEET without MET on a link", grouped(maxUnanswered), wtproto.CodeRateLimited},
		{"unread frames of a link", grouped(maxUnread), wtproto.CodeBusy},
		{"frames on a link", fmt.Sprintf("%s a second, %s at once", grouped(frameRate), grouped(frameBurst)), wtproto.CodeRateLimited},
		{"MEET that is refused", fmt.Sprintf("%d a second, %s at once", refusedRate, grouped(refusedBurst)), wtproto.CodeRateLimited},
		{"GUESS", fmt.Sprintf("%d a second, %d at once", guessRate, guessBurst), wtproto.CodeRateLimited},
	} {
		row := rows[tc.of]
		delete(rows, tc.of)
		if row[0] != tc.most || !strings.Contains(row[1], tc.code.String()) {
			t.Errorf("%s: %q, want %q and %v", tc.of, row, tc.most, tc.code)
		}
	}
	for of := range rows {
		t.Errorf("the document has the limit %q, which this test does not know", of)
	}
}

// A stream whose MET or OPENED is late is reset with the code that the document says.
func TestProtocolLateAnswers(t *testing.T) {
	row := regexp.MustCompile(`\n\| HOST, MET, OPENED \| 10 s \| stream is reset with ([A-Z]+) \|\n`).FindStringSubmatch(protocolSection(t, "13. Limits"))
	if row == nil {
		t.Fatal("PROTOCOL.md does not say what a late MET or OPENED is")
	}
	small, large := keys(t)
	first, ended := make(chan wtproto.Type, 8), make(chan error, 8)
	s := newStranger(t, small)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		typ, _, err := wtproto.NewReader(st).Next()
		if typ == wtproto.TypeHost {
			_, _ = st.Write(wtproto.Host{Run: s.run()}.Append(nil))
			typ, _, err = wtproto.NewReader(st).Next()
		}
		if err != nil {
			return // HOST came too late
		}
		first <- typ
		_, err = st.Read(make([]byte, 1))
		ended <- err
	})
	h := listen(t, all(gateway, key(large), func(c *Config) {
		c.Mode, c.AnswerTimeout = Off, time.Second
		c.Static = map[wtproto.Topic][]string{testTopic: {s.addr()}}
	}))
	m := join(t, h, presence(true, true, endpoint(1)), nil)
	want := func(frame wtproto.Type) {
		t.Helper()
		if typ := <-first; typ != frame {
			t.Fatalf("%v came, want %v", typ, frame)
		}
		err := <-ended
		if e, ok := errors.AsType[*network.StreamError](err); !ok || wtproto.Code(e.ErrorCode).String() != row[1] {
			t.Errorf("the stream of %v ended with %v, want a reset with %s", frame, err, row[1])
		}
	}
	want(wtproto.TypeMeet)
	st := s.link(h, 0)
	write(t, st, s.meet(h).Append(nil))
	read(t, st, wtproto.TypeMet)
	i := m.await("the stranger", func(i item) bool { return i.sighting.Peer.ID == string(s.ID()) && i.sighting.Dial != nil })
	dialed := make(chan error, 1)
	go func() {
		_, err := i.sighting.Dial(t.Context(), endpoint(1))
		dialed <- err
	}()
	for typ := wtproto.TypeMeet; typ != wtproto.TypeOpen; {
		typ = <-first // further MEETs may come
		if typ != wtproto.TypeOpen {
			<-ended
		}
	}
	err := <-ended
	if e, ok := errors.AsType[*network.StreamError](err); !ok || wtproto.Code(e.ErrorCode).String() != row[1] {
		t.Errorf("the stream of OPEN ended with %v, want a reset with %s", err, row[1])
	}
	wantCode(t, "Dial", <-dialed, wtproto.CodePeerUnreachable, false)
}
