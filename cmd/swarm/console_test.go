package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/client/messages"
)

// unhex reads parts of hexadecimal digits; 0a*3 is 0a0a0a.
func unhex(t *testing.T, text string) []byte {
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

// consoleVector is what a console says, and what it means.
type consoleVector struct {
	Name, Stream   string
	Error, Skipped bool
	Message        struct {
		Type, Text, Name, Reason, Ask, Answer, Bytes string
		ID                                           uint32
		Size, Offset                                 int64
	}
}

// message returns what the vector means.
func (v consoleVector) message(t *testing.T) consoleMessage {
	kinds := map[string]messages.Kind{
		"text": textKind, "name": nameKind, "file": fileKind, "data": dataKind, "cancel": cancelKind, "grant": grantKind,
		"saved": savedKind, "refuse": refuseKind, "again": againKind, "from": fromKind,
	}
	m := consoleMessage{
		Kind: kinds[v.Message.Type], ID: v.Message.ID, Number: v.Message.Size + v.Message.Offset,
		Text: v.Message.Text + v.Message.Name + v.Message.Reason,
	}
	copy(m.Ask[:], unhex(t, v.Message.Ask))
	copy(m.Answer[:], unhex(t, v.Message.Answer))
	if m.Kind == dataKind {
		m.Bytes = unhex(t, v.Message.Bytes)
	}
	return m
}

func TestConsoleVectors(t *testing.T) {
	b, err := os.ReadFile("../../client/messages/testdata/vectors.json")
	var all struct{ Consoles []consoleVector }
	if err := errors.Join(err, json.Unmarshal(b, &all)); err != nil {
		t.Fatal(err)
	}
	for _, v := range all.Consoles {
		stream := unhex(t, v.Stream)
		var hello messages.Message
		switch v.Message.Type {
		case "call":
			hello = messages.Message{Kind: messages.Hello, Data: []byte(callText)}
		case "answer":
			hello = messages.Message{Kind: messages.Hello, Data: []byte(answerText)}
		}
		if hello.Data != nil {
			if b := hello.Append(nil); !bytes.Equal(b, stream) {
				t.Errorf("%s: %x, want %x", v.Name, b, stream)
			}
			continue
		}
		conn := messages.New(bytes.NewBuffer(stream), messages.Config{})
		received, err := conn.Receive(t.Context())
		if err != nil && !v.Error {
			t.Fatalf("%s: %v", v.Name, err)
		}
		got, ok, err := decode(received)
		if ok == (v.Error || v.Skipped) || (err != nil) != v.Error {
			t.Errorf("%s: read as %v, %v", v.Name, ok, err)
		}
		if v.Error || v.Skipped {
			continue
		}
		want := v.message(t)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as %+v, want %+v", v.Name, got, want)
		}
		if b := want.encode().Append(nil); !bytes.Equal(b, stream) {
			t.Errorf("%s: written as %x, want %x", v.Name, b, stream)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	m := consoleMessage{Kind: nameKind, Text: strings.Repeat("✓", 100)}.encode()
	if want := strings.Repeat("✓", 85); m.Text() != want {
		t.Errorf("a long name became %q, want %q", m.Text(), want)
	}
}

func TestMeetConsole(t *testing.T) {
	hello := func(text string) string {
		return string(messages.Message{Kind: messages.Hello, Data: []byte(text)}.Append(nil))
	}
	for _, c := range []struct {
		name      string
		initiator bool
		says      string
		want      error
	}{
		{"a console answers", true, hello(answerText), nil},
		{"a console calls", false, hello(callText), nil},
		{"an echo", true, hello(callText), errNotConsole},
		{"another program that speaks messages", false, hello("chess"), errNotConsole},
		{"something else", false, "GET /", errNotConsole},
		{"the end", false, hello(callText)[:9], errNotConsole},
	} {
		a, b := net.Pipe()
		go func() {
			go io.Copy(io.Discard, b)
			io.WriteString(b, c.says)
			if c.want != nil {
				b.Close()
			}
		}()
		if _, err := detectConsole(a, c.initiator); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		a.Close()
		b.Close()
	}
}
