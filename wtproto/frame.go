package wtproto

import (
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/quic-go/quic-go/quicvarint"
)

// ALPN is the TLS application protocol of raw QUIC sessions and the WebTransport subprotocol; it names the family,
// HELLO and WELCOME choose the version.
const ALPN = "swarmgate"

// Path is the path of WebTransport sessions.
const Path = "/swarm"

// Version is the highest version of the protocol that this package speaks. There is no version 0.
const Version = 1

// Limits of the protocol in bytes; what is longer is CodeTooLarge.
const (
	MaxPayload = 16 << 10 // of any frame
	MaxToken   = 8 << 10  // HELLO's token
	MaxAgent   = 256      // an agent string
	MaxReason  = 1024     // a reason
	MaxNetwork = 64       // a network's name
	MaxPeerID  = 128      // a peer id
	MaxAddress = 512      // an address
)

// Limits of the protocol in elements.
const (
	MaxHashes    = 8  // certificate hashes in WELCOME
	MaxNetworks  = 16 // networks in STATUS
	MaxEndpoints = 64 // endpoints in MEET, MET and ENDPOINTS
)

// MinCredit is the least credit that HELLO may ask for, in bytes.
const MinCredit = 4 << 10

// Type says what a frame is. A receiver skips types that it does not know.
type Type uint64

// Frames between a client and a gateway, and, from TypeMeet on, between two hosts. The comment is the layout of the
// payload: i is a varint, a number is that many bytes, b is a varint length and the bytes.
const (
	TypeHello    Type = 0x01 // version i, flags i, credit i, secret 16, token b, agent b
	TypeWelcome  Type = 0x02 // version i, session 16, max topics i, max circuits i, hashes i × 32, agent b
	TypeJoin     Type = 0x03 // topic 32, flags i, max peers i
	TypeJoined   Type = 0x04 // topic 32
	TypeLeave    Type = 0x05 // topic 32
	TypeLeft     Type = 0x06 // topic 32, code i, reason b
	TypeStatus   Type = 0x07 // topic 32, flags i, known i, connected i, networks i × (name b, state i, found i, connecting i, refused i, code i)
	TypePeer     Type = 0x08 // circuit i, topic 32, flags i, network b, peer id b, address b
	TypeAccept   Type = 0x09 // circuit i
	TypeDecline  Type = 0x0a // circuit i, code i
	TypeWithdraw Type = 0x0b // circuit i, code i
	TypeCredit   Type = 0x0c // circuit i, offset i
	TypeGoaway   Type = 0x0d // code i, retry after ms i, reason b
	TypePing     Type = 0x0e // data 8
	TypePong     Type = 0x0f // data 8

	TypeMeet      Type = 0x20 // digest 32, proof 32, flags i, more i, endpoints i × 16
	TypeMet       Type = 0x21 // code i, proof 32, flags i, more i, endpoints i × 16
	TypeEndpoints Type = 0x22 // more i, endpoints i × 16
	TypeOpen      Type = 0x23 // digest 32, proof 32, from 16, to 16
	TypeOpened    Type = 0x24 // code i, proof 32
)

// Reader reads frames from a stream. It never reads beyond the frame that it returns, so after [Reader.Next] the rest of
// the stream still belongs to the caller; a stream of many frames wants a bufio.Reader below. It holds one payload
// buffer, which grows to at most [MaxPayload] bytes, and only for a frame that needs it. Not for use by several
// goroutines at once.
type Reader struct {
	r   io.Reader
	b   io.ByteReader
	buf []byte
}

// NewReader returns a Reader of r. It reads single bytes if r is no io.ByteReader.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, b: quicvarint.NewReader(r)} }

// Next returns the type and the payload of the next frame, of a known type or not. The payload is valid until the next
// call. At the end of the stream between two frames the error is io.EOF, within a frame io.ErrUnexpectedEOF; a payload
// longer than [MaxPayload] is an [*Error] with CodeTooLarge, found before memory is taken for it.
func (r *Reader) Next() (Type, []byte, error) {
	typ, err := quicvarint.Read(r.b)
	if err != nil {
		return 0, nil, err // io.EOF only when there was no first byte
	}
	n, err := quicvarint.Read(r.b)
	if err != nil {
		return 0, nil, unexpected(err)
	}
	if n > MaxPayload {
		return 0, nil, Errorf(CodeTooLarge, "frame 0x%x: payload of %d bytes, at most %d", typ, n, MaxPayload)
	}
	if uint64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	payload := r.buf[:n]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return 0, nil, unexpected(err)
	}
	return Type(typ), payload, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

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

func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = quicvarint.Append(b, uint64(len(s)))
	return append(b, s...)
}

func appendEndpoints(b []byte, more bool, ids []EndpointID) []byte {
	b = appendBool(b, more)
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

func (f *fields) varint(field string) uint64 {
	if f.err != nil {
		return 0
	}
	v, n, err := quicvarint.Parse(f.b)
	if err != nil {
		f.fail(CodeProtocol, field, "not a varint")
		return 0
	}
	f.b = f.b[n:]
	return v
}

// code reads a 32-bit code.
func (f *fields) code(field string) Code {
	v := f.varint(field)
	if v > 1<<32-1 {
		f.fail(CodeProtocol, field, "more than 32 bits")
	}
	return Code(v)
}

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

// bytes returns a part of the payload.
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

func (f *fields) string(field string, limit int) string {
	s := f.bytes(field, limit)
	if !utf8.Valid(s) {
		f.fail(CodeProtocol, field, "not UTF-8")
		return ""
	}
	return string(s)
}

func (f *fields) endpoints() (more bool, ids []EndpointID) {
	more = f.varint("more") != 0
	n := f.count("endpoints", MaxEndpoints, EndpointSize)
	if n == 0 {
		return more, nil
	}
	ids = make([]EndpointID, n)
	for i := range ids {
		f.fixed("endpoints", ids[i][:])
	}
	return more, ids
}

// done returns the first error as an error that is nil if there was none.
func (f *fields) done() error {
	if f.err != nil {
		return f.err
	}
	return nil
}
