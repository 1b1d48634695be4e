package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A gateway whose clock was wrong for a moment made new certificates, and wrote them over those
// that its clients knew. Each step says for how long the program has run, what its clock shows
// (from when the first pair was made), and then: the pair for clients, and the pairs in the state
// file. Certificates are called a, b, c, … in the order in which they were made.
func TestSuccession(t *testing.T) {
	const year = 365 * day
	type step struct {
		ran, clock  time.Duration
		serve, file string
	}
	for name, steps := range map[string][]step{
		"a clock that is right": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{6*day - 1, 6*day - 1, "ab", "ab"},
			{6 * day, 6 * day, "bc", "ab bc"},
			{6*day + settle - 1, 6*day + settle - 1, "bc", "ab bc"},
			{6*day + settle, 6*day + settle, "bc", "bc"},
			{12 * day, 12 * day, "cd", "bc cd"},
			{12*day + settle, 12*day + settle, "cd", "cd"},
		},
		"a moment ahead by years": {
			{0, 0, "ab", "ab"},
			{day, day, "ab", "ab"},
			{day, 10 * year, "cd", "ab cd"},
			{day + settle - 1, 10*year + settle - 1, "cd", "ab cd"},
			{day + settle, day + settle, "ab", "ab cd"},
			{2 * day, 10 * year, "cd", "ab cd"}, // the same pair again, and time begins anew
			{2*day + settle - 1, 10*year + settle - 1, "cd", "ab cd"},
			{2*day + settle, 2*day + settle, "ab", "ab cd"},
			{6 * day, 6 * day, "be", "ab be"}, // d is from the future
			{6*day + settle, 6*day + settle, "be", "be"},
		},
		"a moment ahead by a turn": {
			{0, 0, "ab", "ab"},
			{day, day, "ab", "ab"},
			{day, 7 * day, "bc", "ab bc"},
			{day + time.Minute, day + time.Minute, "ab", "ab bc"},
			{6 * day, 6 * day, "bc", "ab bc"},
			{6*day + settle, 6*day + settle, "bc", "bc"},
			{12*day + 11*time.Hour, 12*day + 11*time.Hour, "cd", "bc cd"}, // b ends
		},
		"ahead for good, such as after a long sleep": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{day, 20 * day, "cd", "ab cd"},
			{day + settle, 20*day + settle, "cd", "cd"},
			{day + settle, day + settle, "ef", "cd ef"},
		},
		"a jump after a jump": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{day, year, "cd", "ab cd"},
			{day + settle - 1, 2 * year, "ef", "ab ef"},
			{day + settle, 2*year + 1, "ef", "ab ef"},
			{day + 2*settle - 1, 2*year + settle, "ef", "ef"},
		},
		"a moment behind": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{day, -year, "cd", "ab cd"},
			{2*day - 1, day - year, "cd", "ab cd"},
			{2 * day, 2 * day, "ab", "ab cd"},
		},
		"behind for days": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{day, -year, "cd", "ab cd"},
			{2 * day, day - year, "cd", "cd"},
		},
		"a first start while it is ahead": { // nobody knows that pair yet
			{0, 0, "ab", "ab"},
			{time.Minute, -8 * time.Hour, "cd", "cd"},
			{12 * time.Hour, 4 * time.Hour, "cd", "cd"},
		},
		"a little back at the turn": {
			{0, 0, "ab", "ab"},
			{settle, settle, "ab", "ab"},
			{6 * day, 6 * day, "bc", "ab bc"},
			{6*day + 1, 6*day - 1, "ab", "ab bc"},
			{6*day + 2, 6 * day, "bc", "ab bc"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			names := make(map[*tls.Certificate]string)
			title := func(p pair) string { return names[p.current] + names[p.next] }
			var s succession
			file := ""
			for _, at := range steps {
				now := begin.Add(at.clock)
				serve, changed, err := s.at(now, at.ran, func() (*tls.Certificate, error) {
					c := lasting(now)
					names[c] = string(rune('a' + len(names)))
					return c, nil
				})
				var saved []string
				for _, p := range s.pairs() {
					saved = append(saved, title(p))
				}
				saves := strings.Join(saved, " ")
				if !changed && saves != file {
					t.Errorf("after %v the pairs to save changed without a word: %s, before %s", at.ran, saves, file)
				}
				file = saves
				if err != nil || title(serve) != at.serve || file != at.file {
					t.Errorf("after %v, with the clock at %v: serves %s and saves %s, %v; want %s and %s", at.ran, at.clock, title(serve), file, err, at.serve, at.file)
				}
			}
		})
	}
}

// lasting returns what succession looks at of a certificate that is made now.
func lasting(now time.Time) *tls.Certificate {
	from := now.Add(-backdate)
	return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: from, NotAfter: from.Add(validity)}}
}

// If no certificate can be made, what there is stays.
func TestSuccessionWithoutCertificates(t *testing.T) {
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	fails := errors.New("no randomness")
	no := func() (*tls.Certificate, error) { return nil, fails }
	var s succession
	if _, changed, err := s.at(begin, 0, no); changed || err != fails {
		t.Errorf("at the first start: %v, %v", changed, err)
	}
	first, _, err := s.at(begin, 0, func() (*tls.Certificate, error) { return lasting(begin), nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, changed, err := s.at(begin.Add(6*day), 6*day, no); changed || err != fails || s.made != first {
		t.Errorf("at the turn: %v, %v", changed, err)
	}
}

// What is saved is what a restarted gateway finds, whether the clock was wrong or not.
func TestPairsInTheStateFile(t *testing.T) {
	n, err := parseNames(nil)
	if err != nil {
		t.Fatal(err)
	}
	var pairs []pair
	for range 2 {
		var p pair
		for _, c := range []**tls.Certificate{&p.current, &p.next} {
			if *c, err = makeCertificate(n, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		pairs = append(pairs, p)
	}
	print := func(p pair) string {
		if p.none() {
			return ""
		}
		return fmt.Sprintf("%x %x", p.current.Leaf.Raw, p.next.Leaf.Raw)
	}
	for _, count := range []int{1, 2} {
		data, err := marshalPairs(pairs[:count]...)
		if err != nil {
			t.Fatal(err)
		}
		first, second, err := parsePairs(append(data, "\n\n"...))
		want := append(slices.Clone(pairs[:count]), pair{})[1]
		if err != nil || print(first) != print(pairs[0]) || print(second) != print(want) {
			t.Errorf("%d pairs: other ones come back, %v", count, err)
		}
		cut := map[string][]byte{"a part": data[:len(data)-200]}
		if count == 2 {
			cut["a half of the second"] = data[:len(data)*3/4]
		}
		for _, name := range slices.Sorted(maps.Keys(cut)) {
			if _, _, err := parsePairs(cut[name]); err == nil {
				t.Errorf("%d pairs, %s: no error", count, name)
			}
		}
	}
}
