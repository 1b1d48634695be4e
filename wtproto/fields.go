package wtproto

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quic-go/quic-go/quicvarint"
)

// begin appends the type of a frame and returns where its payload starts, for end.
func begin(b []byte, t Type) ([]byte, int) {
	b = quicvarint.Append(b, uint64(t))
	return b, len(b)
}

// end puts the length of the payload, which is b[mark:], in front of it.
func end(b []byte, mark int) []byte {
	n := uint64(len(b) - mark)
	var l [8]byte
	length := quicvarint.Append(l[:0], n)
	b = slices.Grow(b, len(length))[:len(b)+len(length)]
	copy(b[mark+len(length):], b[mark:])
	copy(b[mark:], length)
	return b
}

// appendBytes adds a varint length and s.
func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = quicvarint.Append(b, uint64(len(s)))
	return append(b, s...)
}

// appendText adds text of at most limit bytes: invalid UTF-8 in s becomes U+FFFD, and a longer s
// is cut between two characters. Otherwise the other side would end the session.
func appendText(b []byte, s string, limit int) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) > limit {
		for !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return appendBytes(b, s)
}

func appendEndpoints(b []byte, state EndpointsState, ids []EndpointID) []byte {
	b = quicvarint.Append(b, uint64(state))
	b = quicvarint.Append(b, uint64(len(ids)))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// fields reads the fields of a payload in order and keeps the first error.
type fields struct {
	frame string
	b     []byte
	err   *Error
}

func parse(frame string, b []byte) fields { return fields{frame: frame, b: b} }

// fail keeps the error of field, unless there was one before it.
func (f *fields) fail(c Code, field, problem string) {
	if f.err == nil {
		f.err = Errorf(c, "%s: %s: %s", f.frame, field, problem)
	}
	f.b = nil
}

// fixed fills dst.
func (f *fields) fixed(field string, dst []byte) {
	if f.err != nil {
		return
	}
	if len(f.b) < len(dst) {
		f.fail(CodeProtocol, field, "too short")
		return
	}
	f.b = f.b[copy(dst, f.b):]
}

// varint reads a number.
func (f *fields) varint(field string) uint64 {
	if f.err != nil {
		return 0
	}
	v, n, err := quicvarint.Parse(f.b)
	if err != nil {
		f.fail(CodeProtocol, field, "too short")
		return 0
	}
	f.b = f.b[n:]
	return v
}

// code reads a 32-bit code.
func (f *fields) code(field string) Code {
	v := f.varint(field)
	if v > math.MaxUint32 {
		f.fail(CodeProtocol, field, "more than 32 bits")
	}
	return Code(v)
}

// circuit reads the id of a circuit.
func (f *fields) circuit() CircuitID {
	v := f.varint("circuit")
	if v == 0 {
		f.fail(CodeProtocol, "circuit", "0 is not a circuit id")
	}
	return CircuitID(v)
}

// more reads flags of which bit 0 says that there is more than what is told.
func (f *fields) more(field string) bool { return f.varint(field)&1 != 0 }

// count reads a number of elements of at least size bytes each.
func (f *fields) count(field string, limit, size int) int {
	n := f.varint(field)
	switch {
	case n > uint64(limit):
		f.fail(CodeTooLarge, field, "too many")
	case n*uint64(size) > uint64(len(f.b)):
		f.fail(CodeProtocol, field, "too short")
	}
	if f.err != nil {
		return 0
	}
	return int(n)
}

// bytes reads a varint length and returns that many bytes of the payload, not a copy of them.
func (f *fields) bytes(field string, limit int) []byte {
	n := f.varint(field)
	switch {
	case f.err != nil:
		return nil
	case n > uint64(limit):
		f.fail(CodeTooLarge, field, "too long")
		return nil
	case n > uint64(len(f.b)):
		f.fail(CodeProtocol, field, "too short")
		return nil
	}
	s := f.b[:n]
	f.b = f.b[n:]
	return s
}

// string reads text.
func (f *fields) string(field string, limit int) string {
	s := f.bytes(field, limit)
	if !utf8.Valid(s) {
		f.fail(CodeProtocol, field, "not UTF-8")
		return ""
	}
	return string(s)
}

// endpoints reads what appendEndpoints adds.
func (f *fields) endpoints() (state EndpointsState, ids []EndpointID) {
	state = EndpointsState(f.varint("state"))
	n := f.count("endpoints", MaxEndpoints, EndpointSize)
	if n == 0 {
		return state, nil
	}
	ids = make([]EndpointID, n)
	for i := range ids {
		f.fixed("endpoints", ids[i][:])
	}
	return state, ids
}

// done returns the first error as an error that is nil if there was none.
func (f *fields) done() error {
	if f.err != nil {
		return f.err
	}
	return nil
}
