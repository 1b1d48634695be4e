package messages

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

type vector struct {
	Name, Stream, End string
	Messages          []struct {
		Kind  Kind
		Text  *string
		JSON  json.RawMessage
		Bytes *string
	}
	Skipped bool // the stream is not what a sender writes
}

func loadVectors(t testing.TB) (all struct{ Streams []vector }) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// unhex reads parts of hexadecimal digits; 0a*3 is 0a0a0a.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var all []byte
	for part := range strings.FieldsSeq(text) {
		digits, times, many := strings.Cut(part, "*")
		b, err := hex.DecodeString(digits)
		n := 1
		if many && err == nil {
			n, err = strconv.Atoi(times)
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		all = append(all, bytes.Repeat(b, n)...)
	}
	return all
}

// readers hands a stream out in different pieces.
var readers = map[string]func(io.Reader) io.Reader{
	"at once":           func(r io.Reader) io.Reader { return r },
	"byte by byte":      iotest.OneByteReader,
	"in halves":         iotest.HalfReader,
	"end with the data": iotest.DataErrReader,
}

// over is a connection that is read only.
type over struct{ io.Reader }

func (over) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t).Streams {
		for how, reader := range readers {
			t.Run(v.Name+"/"+how, func(t *testing.T) {
				stream := unhex(t, v.Stream)
				c := New(over{reader(bytes.NewReader(stream))}, Config{MaxSize: 1000})
				var again []byte
				for _, want := range v.Messages {
					got, err := c.Receive(t.Context())
					if err != nil || got.Kind != want.Kind {
						t.Fatalf("received kind %d, %v; want %d", got.Kind, err, want.Kind)
					}
					switch {
					case want.Text != nil:
						if got.Text() != *want.Text {
							t.Errorf("received %q, want %q", got.Text(), *want.Text)
						}
					case want.Bytes != nil:
						if b := unhex(t, *want.Bytes); !bytes.Equal(got.Data, b) {
							t.Errorf("received %x, want %x", got.Data, b)
						}
					default:
						var a, b any
						if err := errors.Join(got.Decode(&a), json.Unmarshal(want.JSON, &b)); err != nil || !reflect.DeepEqual(a, b) {
							t.Errorf("received %v, want %v, %v", a, b, err)
						}
					}
					again = got.Append(again)
				}
				if !v.Skipped && !bytes.HasPrefix(stream, again) {
					t.Errorf("written as %x, want %x", again, stream)
				}
				for range 2 { // the end stays the end
					_, err := c.Receive(t.Context())
					if got := nameOf(err); got != v.End {
						t.Errorf("ended with %v, want %q", err, v.End)
					}
				}
			})
		}
	}
}

// nameOf returns what a vector calls an error.
func nameOf(err error) string {
	_, size := errors.AsType[*SizeError](err)
	switch {
	case err == io.EOF:
		return "end"
	case err == io.ErrUnexpectedEOF:
		return "unexpected end"
	case size:
		return "too large"
	case errors.Is(err, ErrMalformed):
		return "malformed"
	}
	return "another error"
}

// Whatever comes, Receive returns messages and one error, and a message is written as it came.
func FuzzReceive(f *testing.F) {
	for _, v := range loadVectors(f).Streams {
		f.Add(unhex(f, v.Stream))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(over{bytes.NewReader(b)}, Config{MaxSize: 1000})
		for {
			m, err := c.Receive(t.Context())
			if err != nil {
				return
			}
			again, err := New(over{bytes.NewReader(m.Append(nil))}, Config{}).Receive(t.Context())
			if err != nil || again.Kind != m.Kind || !bytes.Equal(again.Data, m.Data) {
				t.Errorf("%v became %v, %v", m, again, err)
			}
		}
	})
}
