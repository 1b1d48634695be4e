package wtproto

import (
	"bytes"
	"testing"
)

// testAllocs checks that Append into a buffer with room allocates nothing, and that parse makes
// want allocations: one for each text that is not empty and one for each list.
func testAllocs[M message](t *testing.T, parse func([]byte) (M, error), want float64) {
	t.Helper()
	var zero M
	typ, _ := oneFrame(t, zero.Append(nil))
	m := samples()[typ][1].(M)
	buf := make([]byte, 0, 4<<10)
	if got := testing.AllocsPerRun(100, func() { buf = m.Append(buf[:0]) }); got != 0 {
		t.Errorf("%v: Append takes memory %v times, want 0", typ, got)
	}
	_, payload := oneFrame(t, buf)
	var err error
	if got := testing.AllocsPerRun(100, func() { m, err = parse(payload) }); got != want || err != nil {
		t.Errorf("%v: parsing takes memory %v times, %v, want %v", typ, got, err, want)
	}
}

func TestAllocs(t *testing.T) {
	testAllocs(t, ParseJoined, 0)
	testAllocs(t, ParseLeave, 0)
	testAllocs(t, ParseAccept, 0)
	testAllocs(t, ParseDecline, 0)
	testAllocs(t, ParseWithdraw, 0)
	testAllocs(t, ParseCredit, 0)
	testAllocs(t, ParsePing, 0)
	testAllocs(t, ParsePong, 0)
	testAllocs(t, ParseOpen, 0)
	testAllocs(t, ParseOpened, 0)
	testAllocs(t, ParseHost, 0)
	testAllocs(t, ParsePart, 0)

	testAllocs(t, ParseHello, 1)     // agent
	testAllocs(t, ParseWelcome, 2)   // hashes, agent
	testAllocs(t, ParseJoin, 3)      // networks, two names
	testAllocs(t, ParseLeft, 1)      // reason
	testAllocs(t, ParseStatus, 3)    // networks, the one name, its reason
	testAllocs(t, ParsePeer, 2)      // network, address
	testAllocs(t, ParseConnect, 1)   // network
	testAllocs(t, ParseRefused, 1)   // reason
	testAllocs(t, ParseGoaway, 1)    // reason
	testAllocs(t, ParseMeet, 1)      // endpoints
	testAllocs(t, ParseMet, 1)       // endpoints
	testAllocs(t, ParseEndpoints, 1) // endpoints
	testAllocs(t, ParseGuess, 1)     // tags
}

// rewind reads the same bytes again and again, and is not an io.ByteReader.
type rewind struct {
	b   []byte
	off int
}

func (r *rewind) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.off:])
	if r.off += n; r.off == len(r.b) {
		r.off = 0
	}
	return n, nil
}

func TestReaderAllocs(t *testing.T) {
	var stream []byte
	frames := 0
	for _, typ := range typesInOrder() {
		for _, m := range samples()[typ] {
			stream = m.Append(stream)
			frames++
		}
	}
	r := NewReader(&rewind{b: stream})
	var err error
	read := func() {
		for range frames {
			if _, _, e := r.Next(); e != nil {
				err = e
			}
		}
	}
	read() // grows the buffer once
	if got := testing.AllocsPerRun(100, read); got != 0 || err != nil {
		t.Errorf("reading %d frames takes memory %v times, %v, want 0", frames, got, err)
	}
}

func BenchmarkReaderNext(b *testing.B) {
	frame := Credit{Circuit: 7, Offset: 1 << 20}.Append(nil)
	r := NewReader(&rewind{b: bytes.Repeat(frame, 64)})
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		_, payload, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ParseCredit(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendStatus(b *testing.B) {
	m := samples()[TypeStatus][1]
	buf := m.Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		buf = m.Append(buf[:0])
	}
}
