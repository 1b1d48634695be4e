package wtproto

import (
	"errors"
	"io"

	"github.com/quic-go/quic-go/quicvarint"
)

// Reader reads frames from a stream. It never reads beyond the frame that it returns, so after
// [Reader.Next] the rest of the stream still belongs to the caller; a stream of many frames wants
// a bufio.Reader below, since the Reader asks for single bytes. It holds one payload buffer, which
// grows as the bytes of a payload arrive, to at most [MaxPayload]: a frame that announces more
// than it brings takes no memory. Not for use by several goroutines at once.
type Reader struct {
	r    io.Reader
	head [8]byte // of the varint that is being read; a field, so that it is not allocated for each
	buf  []byte
}

// smallBuffer is the buffer for a payload of which nothing has arrived yet, in bytes. Most frames
// are shorter.
const smallBuffer = 512

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the type and the payload of the next frame, of a known type or not. The payload is
// valid until the next call. At the end of the stream between two frames the error is io.EOF,
// within a frame io.ErrUnexpectedEOF; a payload longer than [MaxPayload] is an [*Error] with
// CodeTooLarge, found before memory is taken for it. After an error the stream is of no more use.
func (r *Reader) Next() (Type, []byte, error) {
	typ, err := r.varint()
	if err != nil {
		return 0, nil, err
	}
	n, err := r.varint()
	if err != nil {
		return 0, nil, unexpected(err)
	}
	if n > MaxPayload {
		return 0, nil, Errorf(CodeTooLarge, "%v: payload of %d bytes, at most %d", Type(typ), n, MaxPayload)
	}
	payload, err := r.payload(int(n))
	if err != nil {
		return 0, nil, unexpected(err)
	}
	return Type(typ), payload, nil
}

// payload reads n bytes. Its buffer is never more than twice as long as what has arrived, or
// smallBuffer.
func (r *Reader) payload(n int) ([]byte, error) {
	for have := 0; have < n; {
		if have == cap(r.buf) {
			grown := make([]byte, min(MaxPayload, max(2*have, min(n, smallBuffer), 64)))
			copy(grown, r.buf[:have])
			r.buf = grown
		}
		next := min(n, cap(r.buf))
		if _, err := io.ReadFull(r.r, r.buf[have:next]); err != nil {
			return nil, err
		}
		have = next
	}
	return r.buf[:n], nil
}

// varint reads a number. The error is io.EOF only if the stream ended before its first byte.
func (r *Reader) varint() (uint64, error) {
	if _, err := io.ReadFull(r.r, r.head[:1]); err != nil {
		return 0, err
	}
	size := 1 << (r.head[0] >> 6)
	if _, err := io.ReadFull(r.r, r.head[1:size]); err != nil {
		return 0, unexpected(err)
	}
	v, _, err := quicvarint.Parse(r.head[:size])
	return v, err
}

// unexpected returns err, or io.ErrUnexpectedEOF for io.EOF: the stream must not end here.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
