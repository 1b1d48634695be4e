package wtproto

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/quic-go/quic-go/quicvarint"
)

// FuzzControlReader reads a whole control stream. Only two things may come out: messages, which
// Append and Parse bring back unchanged, and documented errors.
func FuzzControlReader(f *testing.F) {
	var all []byte
	for _, typ := range typesInOrder() {
		for _, m := range samples()[typ] {
			f.Add(m.Append(nil))
			all = m.Append(all)
		}
	}
	f.Add(all)
	f.Add(Ping{}.Append([]byte{0x3f, 0x02, 0xaa, 0xbb}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		for {
			typ, payload, err := r.Next()
			if err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && codeOf(err) != CodeTooLarge {
					t.Fatalf("Next: %v", err)
				}
				if cap(r.buf) > MaxPayload {
					t.Fatalf("the buffer has %d bytes", cap(r.buf))
				}
				return
			}
			parse := parsers[typ]
			if parse == nil {
				continue
			}
			m, err := parse(payload)
			if err != nil {
				checkParseError(t, typ, err)
				continue
			}
			againType, againPayload := oneFrame(t, m.Append(nil))
			again, err := parse(againPayload)
			if err != nil || againType != typ || !reflect.DeepEqual(again, m) {
				t.Fatalf("%v: %+v, encoded and parsed, is %v %+v, %v", typ, m, againType, again, err)
			}
		}
	})
}

// checkParseError fails unless err is what a Parse function may return.
func checkParseError(t *testing.T, typ Type, err error) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Remote || e.Err != nil || e.Reason == "" {
		t.Fatalf("%v: %#v", typ, err)
	}
	switch e.Code {
	case CodeProtocol, CodeTooLarge:
	case CodeVersion:
		if typ != TypeHello {
			t.Fatalf("%v: %v", typ, err)
		}
	default:
		t.Fatalf("%v: %v", typ, err)
	}
}

// FuzzFirstFrame reads the first frame of a stream whose other bytes belong to somebody else: the
// reader takes not one of them, in whatever pieces the stream hands out its bytes.
func FuzzFirstFrame(f *testing.F) {
	for _, typ := range []Type{TypeHello, TypeAccept, TypePeer, TypeConnect, TypeRefused, TypeHost, TypeOpen, TypeOpened} {
		for _, m := range samples()[typ] {
			f.Add(append(m.Append(nil), "bytes of the circuit"...))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		head, body, cut := splitFrame(stream)
		for _, oneByte := range []bool{false, true} {
			under := bytes.NewReader(stream)
			var in io.Reader = under
			if oneByte {
				in = iotest.OneByteReader(under)
			}
			typ, payload, err := NewReader(in).Next()
			used := len(stream) - under.Len()
			switch {
			case err == nil:
				wantType, _, _ := quicvarint.Parse(stream)
				if cut || typ != Type(wantType) || used != head+body || !bytes.Equal(payload, stream[head:used]) {
					t.Fatalf("Next = %v, %x after %d bytes, want %v and %d bytes", typ, payload, used, Type(wantType), head+body)
				}
			case err == io.EOF:
				if len(stream) != 0 {
					t.Fatal("io.EOF in a frame")
				}
			case err == io.ErrUnexpectedEOF:
				if !cut {
					t.Fatalf("%v, and the frame is whole", err)
				}
			default:
				if codeOf(err) != CodeTooLarge || body <= MaxPayload || used != head {
					t.Fatalf("Next: %v after %d bytes, payload of %d", err, used, body)
				}
			}
		}
	})
}

// splitFrame returns the sizes of the header and the payload of the first frame of b, and whether
// b ends in it.
func splitFrame(b []byte) (head, body int, cut bool) {
	_, n, err := quicvarint.Parse(b)
	if err != nil {
		return 0, 0, true
	}
	length, m, err := quicvarint.Parse(b[n:])
	if err != nil {
		return 0, 0, true
	}
	return n + m, int(length), length > uint64(len(b)-n-m)
}
