package wtproto

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// codeOf returns the code that err holds for the other side. An error of any other kind is
// CodeInternal, which no test of this package wants.
func codeOf(err error) Code {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Remote {
		return CodeInternal
	}
	return e.Code
}

// oneFrame reads b, which holds one frame and nothing else.
func oneFrame(t testing.TB, b []byte) (Type, []byte) {
	t.Helper()
	stream := bytes.NewReader(b)
	typ, payload, err := NewReader(stream).Next()
	if err != nil || stream.Len() != 0 {
		t.Fatalf("%x: %v, %d bytes left, want one frame", b, err, stream.Len())
	}
	return typ, payload
}

func TestReaderKinds(t *testing.T) {
	var stream []byte
	var want []Type
	for _, typ := range typesInOrder() {
		for _, m := range samples()[typ] {
			stream = m.Append(stream)
			want = append(want, typ)
		}
	}
	kinds := map[string]func(io.Reader) io.Reader{
		"as it is":      func(r io.Reader) io.Reader { return r },
		"one byte":      iotest.OneByteReader,
		"half":          iotest.HalfReader,
		"EOF with data": iotest.DataErrReader,
		"bufio":         func(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 16) },
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			r := NewReader(kind(bytes.NewReader(stream)))
			var got []Type
			var again []byte
			for {
				typ, payload, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				m, err := parsers[typ](payload)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, typ)
				again = m.Append(again)
			}
			if !slices.Equal(got, want) || !bytes.Equal(again, stream) {
				t.Errorf("read %v, want %v", got, want)
			}
		})
	}
}

// A stream that ends between two frames gives io.EOF, one that ends at any other byte
// io.ErrUnexpectedEOF. An end within a type of two bytes once gave io.EOF too.
func TestReaderEnd(t *testing.T) {
	frames := [][]byte{
		Ping{}.Append(nil),
		append([]byte{0x40, 0x0e, 0x80, 0, 0, 8}, make([]byte, 8)...), // a PING with longer varints
		{0xc0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x00},                       // of an unknown type, empty
	}
	stream := slices.Concat(frames...)
	ends := map[int]bool{0: true}
	for i := range frames {
		ends[len(slices.Concat(frames[:i+1]...))] = true
	}
	for n := range len(stream) + 1 {
		for _, whole := range []bool{true, false} {
			var in io.Reader = bytes.NewReader(stream[:n])
			if !whole {
				in = iotest.OneByteReader(in)
			}
			r := NewReader(in)
			var err error
			for err == nil {
				_, _, err = r.Next()
			}
			want := io.ErrUnexpectedEOF
			if ends[n] {
				want = io.EOF
			}
			if err != want {
				t.Errorf("after %d bytes: %v, want %v", n, err, want)
			}
		}
	}
}

// The error of the stream itself comes out as it is.
func TestReaderError(t *testing.T) {
	broken := errors.New("broken")
	frame := Ping{}.Append(nil)
	for n := range frame {
		r := NewReader(io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(broken)))
		if _, _, err := r.Next(); err != broken {
			t.Errorf("after %d bytes: %v, want %v", n, err, broken)
		}
	}
}

func TestReaderDoesNotReadAhead(t *testing.T) {
	rest := []byte("bytes of the circuit")
	for _, typ := range typesInOrder() {
		stream := bytes.NewBuffer(append(samples()[typ][1].Append(nil), rest...))
		if got, _, err := NewReader(stream).Next(); got != typ || err != nil {
			t.Fatalf("Next = %v, %v, want %v", got, err, typ)
		}
		if !bytes.Equal(stream.Bytes(), rest) {
			t.Errorf("%v: the reader left %q, want %q", typ, stream.Bytes(), rest)
		}
	}
}

// The reader returns an empty frame without another Read: the stream may have nothing more to
// give.
func TestReaderEmptyPayload(t *testing.T) {
	blocked := iotest.ErrReader(errors.New("read beyond the frame"))
	typ, payload, err := NewReader(io.MultiReader(bytes.NewReader([]byte{0x3f, 0x00}), blocked)).Next()
	if typ != 0x3f || len(payload) != 0 || err != nil {
		t.Errorf("Next = %v, %x, %v, want an empty 0x3f", typ, payload, err)
	}
}

func TestReaderTooLarge(t *testing.T) {
	for _, head := range [][]byte{
		{0x01, 0x80, 0x00, 0x40, 0x01},                              // 16 KiB + 1
		{0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},      // 2^62-1, unknown type
		{0x0e, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x01, 0xa}, // in 8 bytes, and something behind it
	} {
		r := NewReader(bytes.NewReader(head))
		if _, _, err := r.Next(); codeOf(err) != CodeTooLarge {
			t.Errorf("% x: %v, want TOO_LARGE", head, err)
		}
		if cap(r.buf) != 0 {
			t.Errorf("% x: the reader took %d bytes", head, cap(r.buf))
		}
	}
}

// The reader accepts the longest payload. Its buffer is as long as the longest payload so far, at
// most MaxPayload.
func TestReaderBuffer(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 64, 65, 100, 129, MaxPayload/2 + 1, MaxPayload, 3}
	for _, n := range sizes {
		b, mark := begin(stream, 0x3f)
		stream = end(append(b, bytes.Repeat([]byte{0xaa}, n)...), mark)
	}
	r := NewReader(bytes.NewReader(stream))
	most := 0
	for _, n := range sizes {
		_, payload, err := r.Next()
		if err != nil || len(payload) != n || bytes.Count(payload, []byte{0xaa}) != n {
			t.Fatalf("payload of %d bytes, %v, want %d", len(payload), err, n)
		}
		most = max(most, n)
		if limit := min(MaxPayload, max(64, 2*most)); cap(r.buf) > limit {
			t.Errorf("after %d bytes the buffer has %d, want at most %d", n, cap(r.buf), limit)
		}
	}
}

// A frame of which the payload does not come holds no memory for it. Three bytes once held 16 KiB,
// on each of a client's 288 streams, for as long as the gateway waits for a first frame.
func TestReaderBufferGrowsAsBytesArrive(t *testing.T) {
	b, mark := begin(nil, 0x3f)
	whole := end(append(b, bytes.Repeat([]byte{0xaa}, MaxPayload)...), mark)
	head := len(whole) - MaxPayload
	for _, arrived := range []int{0, 1, 100, smallBuffer, smallBuffer + 1, 5000, MaxPayload/2 + 1, MaxPayload - 1} {
		r := NewReader(iotest.OneByteReader(bytes.NewReader(whole[:head+arrived])))
		if _, _, err := r.Next(); err != io.ErrUnexpectedEOF {
			t.Errorf("%d of %d bytes: %v, want %v", arrived, MaxPayload, err, io.ErrUnexpectedEOF)
		}
		if limit := min(MaxPayload, max(smallBuffer, 2*arrived)); cap(r.buf) > limit {
			t.Errorf("after %d bytes the buffer has %d, want at most %d", arrived, cap(r.buf), limit)
		}
	}
}
