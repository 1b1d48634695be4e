package framing

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func half(digit byte) (h Half) {
	for i := range h {
		h[i] = digit<<4 | digit
	}
	return h
}

// The examples of the document are read and written as they stand there, so Go and TypeScript agree.
func TestExamplesOfTheDocument(t *testing.T) {
	document, err := os.ReadFile("../../web/console/FRAMING.md")
	if err != nil {
		t.Fatal(err)
	}
	digits := regexp.MustCompile(`(?m)^ {0,4}([0-9a-f ]{8,}?)(  .*)?$`)
	var all strings.Builder
	for _, m := range digits.FindAllStringSubmatch(string(document), -1) {
		all.WriteString(strings.ReplaceAll(m[1], " ", ""))
	}
	for _, m := range []Message{
		{Type: Name, Text: "Ann"},
		{Type: Text, Text: "hi ✓"},
		{Type: File, ID: 7, Number: 1 << 32, Ask: half(1), Answer: half(2), Text: "a.bin"},
		{Type: Data, ID: 7, Bytes: []byte{0, 0xff}},
		{Type: Cancel, ID: 7, Text: "no"},
		{Type: Grant, ID: 7, Number: 4 << 20},
		{Type: Saved, ID: 7},
		{Type: Refuse, ID: 7},
		{Type: Again, ID: 7, Ask: half(1)},
		{Type: From, ID: 7, Number: 3 << 20, Answer: half(2)},
	} {
		b := m.Append(nil)
		if !strings.Contains(all.String(), hex.EncodeToString(b)) {
			t.Errorf("type %d: %x is not in the document", m.Type, b)
		}
		if got, ok, err := Parse(Type(b[0]), b[headSize:]); !ok || err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("type %d: read as %+v, %v, %v", m.Type, got, ok, err)
		}
	}
	for _, line := range []string{Call, Answer} {
		if !strings.Contains(string(document), strings.TrimSpace(line)) {
			t.Errorf("the document does not have %q", line)
		}
	}
}

func TestMalformedFrames(t *testing.T) {
	for _, c := range []struct {
		t    Type
		body string
	}{
		{File, "00000007"},
		{File, "000000070020000000000000"},
		{File, "000000070000000000000001" + strings.Repeat("11", 31)},
		{Data, "0000"},
		{Again, "0000000711"},
		{From, "00000007000000000000000111"},
		{Grant, "0000000700"},
		{Text, "ff"},
		{Name, strings.Repeat("61", 256)},
	} {
		b, err := hex.DecodeString(c.body)
		if err != nil {
			t.Fatal(err)
		}
		if m, ok, err := Parse(c.t, b); ok || err == nil {
			t.Errorf("type %d, %s: %+v, want an error", c.t, c.body, m)
		}
	}
	if _, ok, err := Parse(99, nil); ok || err != nil {
		t.Errorf("an unknown type: %v, %v; want neither", ok, err)
	}
	if m := (Message{Type: Name, Text: strings.Repeat("✓", 100)}).Append(nil); len(m) != headSize+255 {
		t.Errorf("a long name has %d bytes, want 255", len(m)-headSize)
	}
}

func TestMeet(t *testing.T) {
	for _, c := range []struct {
		name      string
		initiator bool
		says      string
		want      error
	}{
		{"a console answers", true, Answer, nil},
		{"a console calls", false, Call, nil},
		{"an echo", true, Call, ErrNotConsole},
		{"something else", false, "GET /", ErrNotConsole},
		{"the end", false, "swarm", ErrNotConsole},
	} {
		a, b := net.Pipe()
		go func() {
			go io.Copy(io.Discard, b)
			io.WriteString(b, c.says)
			if c.want != nil {
				b.Close()
			}
		}()
		if _, err := Meet(a, c.initiator); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		a.Close()
		b.Close()
	}
}
