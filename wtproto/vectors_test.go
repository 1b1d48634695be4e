package wtproto

import (
	"bytes"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

const vectorDir = "testdata/vectors"

// A vectorFile is what testdata/vectors/README.md says of a frame's file.
type vectorFile struct {
	Type    string   `json:"type"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	Name      string         `json:"name"`
	Frame     string         `json:"frame"`
	Message   map[string]any `json:"message"`
	Canonical string         `json:"canonical"`
	Error     string         `json:"error"`
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil || len(files) != len(typeNames)+2 {
		t.Fatalf("%d vector files, %v, want %d, derived.json and urls.json", len(files), err, len(typeNames))
	}
	for _, typ := range typesInOrder() {
		t.Run(typ.String(), func(t *testing.T) {
			var file vectorFile
			readStrictly(t, strings.ToLower(typ.String())+".json", &file)
			if file.Type != typ.String() {
				t.Errorf("the file is of type %q", file.Type)
			}
			names := make(map[string]bool)
			good, bad := 0, 0
			for _, v := range file.Vectors {
				if names[v.Name] || v.Name == "" {
					t.Errorf("name %q is empty or used twice", v.Name)
				}
				names[v.Name] = true
				if v.Error == "" {
					good++
				} else {
					bad++
				}
				if err := v.check(typ); err != nil {
					t.Errorf("%s: %v", v.Name, err)
				}
			}
			if good < 3 || bad < 3 {
				t.Errorf("%d vectors with a message and %d with an error, want 3 of each", good, bad)
			}
			if len(file.Vectors) == 0 || file.Vectors[0].Name != "example" {
				t.Error("the first vector is not the example")
			}
		})
	}
}

// check runs v as testdata/vectors/README.md says.
func (v vector) check(typ Type) error {
	if (v.Message == nil) == (v.Error == "") || v.Canonical != "" && (v.Error != "" || v.Canonical == v.Frame) {
		return errors.New("wants either a message or an error, and canonical only where it differs")
	}
	frame, err := unhex(v.Frame)
	if err != nil {
		return err
	}
	stream := bytes.NewReader(frame)
	got, err := readKnown(stream, typ)
	if v.Error != "" {
		if name := outcome(err); name != v.Error {
			return fmt.Errorf("%s parsed to %+v, %v, want %s", v.Frame, got, err, v.Error)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if n := stream.Len(); n != 0 {
		return fmt.Errorf("%d bytes follow the frame", n)
	}
	if err := sameFields(reflect.ValueOf(got), v.Message); err != nil {
		return fmt.Errorf("message%w in %+v", err, got)
	}
	want := frame
	if v.Canonical != "" {
		if want, err = unhex(v.Canonical); err != nil {
			return err
		}
	}
	if b := got.Append(nil); !bytes.Equal(b, want) {
		return fmt.Errorf("%+v is encoded as %x, want %x", got, b, want)
	}
	return nil
}

// readKnown returns the first message of stream that is of a known type, which has to be typ.
func readKnown(stream io.Reader, typ Type) (message, error) {
	r := NewReader(stream)
	for {
		got, payload, err := r.Next()
		if err != nil {
			return nil, err
		}
		if parse := parsers[got]; parse != nil {
			if got != typ {
				return nil, fmt.Errorf("type is %v, want %v", got, typ)
			}
			return parse(payload)
		}
	}
}

// outcome names err as a vector does.
func outcome(err error) string {
	switch {
	case err == nil:
		return ""
	case err == io.EOF:
		return "EOF"
	case err == io.ErrUnexpectedEOF:
		return "TRUNCATED"
	}
	return codeOf(err).String()
}

// sameFields compares a message, or a part of one, with what a vector says of it.
func sameFields(got reflect.Value, want any) error {
	switch v := got.Interface().(type) {
	case time.Duration:
		return sameText(strconv.FormatInt(v.Milliseconds(), 10), want)
	case []byte:
		return sameBytes(v, want)
	}
	switch kind := got.Kind(); {
	case kind == reflect.Struct:
		members, ok := want.(map[string]any)
		if !ok || len(members) != got.NumField() {
			return fmt.Errorf(" = %v, want as many members as %v has", want, got.Type())
		}
		for i := range got.NumField() {
			name := lowerCamel(got.Type().Field(i).Name)
			if err := sameFields(got.Field(i), members[name]); err != nil {
				return fmt.Errorf(".%s%w", name, err)
			}
		}
		return nil
	case kind == reflect.Array && got.Type().Elem().Kind() == reflect.Uint8:
		b := make([]byte, got.Len())
		reflect.Copy(reflect.ValueOf(b), got)
		return sameBytes(b, want)
	case kind == reflect.Slice:
		list, ok := want.([]any)
		if !ok || len(list) != got.Len() {
			return fmt.Errorf(" = %v, want a list of %d", want, got.Len())
		}
		for i := range list {
			if err := sameFields(got.Index(i), list[i]); err != nil {
				return fmt.Errorf("[%d]%w", i, err)
			}
		}
		return nil
	case kind == reflect.Bool:
		if want != got.Bool() {
			return fmt.Errorf(" = %v, want %v", want, got.Bool())
		}
		return nil
	case kind == reflect.String:
		return sameText(got.String(), want)
	case got.CanUint():
		return sameText(strconv.FormatUint(got.Uint(), 10), want)
	}
	return fmt.Errorf(": %v cannot be compared", got.Type())
}

func sameText(got string, want any) error {
	if want != got {
		return fmt.Errorf(" = %v, want %q", want, got)
	}
	return nil
}

func sameBytes(got []byte, want any) error {
	text, _ := want.(string)
	b, err := unhex(text)
	if err != nil || want == nil || !bytes.Equal(got, b) {
		return fmt.Errorf(" = %v, %v, want %x", want, err, got)
	}
	return nil
}

// lowerCamel makes MaxPeers maxPeers and ID id.
func lowerCamel(name string) string {
	if strings.ToUpper(name) == name {
		return strings.ToLower(name)
	}
	return string(unicode.ToLower(rune(name[0]))) + name[1:]
}

// unhex reads the notation of testdata/vectors/README.md.
func unhex(s string) ([]byte, error) {
	var all []byte
	if s == "" {
		return all, nil
	}
	for part := range strings.SplitSeq(s, " ") {
		digits, times, repeated := strings.Cut(part, "*")
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) == 0 || digits != strings.ToLower(digits) {
			return nil, fmt.Errorf("hex %q: %w", part, err)
		}
		n := 1
		if repeated {
			if n, err = strconv.Atoi(times); err != nil || n < 1 || len(b) != 1 {
				return nil, fmt.Errorf("hex %q: %w", part, err)
			}
		}
		all = append(all, bytes.Repeat(b, n)...)
	}
	return all, nil
}

// readStrictly reads a vector file into v and fails for a member that v does not have.
func readStrictly(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("%s: more than one value: %v", name, err)
	}
}

// derivedFile is what testdata/vectors/README.md says of derived.json.
type derivedFile struct {
	Topics []struct {
		Name  string `json:"name"`
		Topic Topic  `json:"topic"`
	} `json:"topics"`
	Texts []struct {
		Text  string `json:"text"`
		Topic Topic  `json:"topic"`
		Error bool   `json:"error"`
	} `json:"texts"`
	Digests []struct {
		Topic  Topic  `json:"topic"`
		Digest string `json:"digest"`
		CID    string `json:"cid"`
	} `json:"digests"`
	Endpoints []struct {
		Secret   string `json:"secret"`
		Endpoint string `json:"endpoint"`
	} `json:"endpoints"`
	Proofs  []proofVector `json:"proofs"`
	Guesses []struct {
		Topic    Topic  `json:"topic"`
		Sender   string `json:"sender"`
		Receiver string `json:"receiver"`
		Run      string `json:"run"`
		Input    string `json:"input"`
		Tag      string `json:"tag"`
	} `json:"guesses"`
}

type proofVector struct {
	Label    ProofLabel `json:"label"`
	Topic    Topic      `json:"topic"`
	Sender   string     `json:"sender"`
	Receiver string     `json:"receiver"`
	Input    string     `json:"input"`
	Proof    string     `json:"proof"`
}

func TestDerivedVectors(t *testing.T) {
	var file derivedFile
	readStrictly(t, "derived.json", &file)
	if min(len(file.Topics), len(file.Texts), len(file.Digests), len(file.Endpoints), len(file.Guesses)) < 3 {
		t.Error("fewer than three vectors of a kind")
	}
	for _, v := range file.Topics {
		if got := TopicFromName(v.Name); got != v.Topic {
			t.Errorf("TopicFromName(%q) = %v, want %v", v.Name, got, v.Topic)
		}
	}
	for _, v := range file.Texts {
		if got, err := ParseTopic(v.Text); got != v.Topic || (err != nil) != v.Error {
			t.Errorf("ParseTopic(%q) = %v, %v, want %v, error: %v", v.Text, got, err, v.Topic, v.Error)
		}
	}
	for _, v := range file.Digests {
		digest := v.Topic.Digest()
		if got := hex.EncodeToString(digest[:]); got != v.Digest {
			t.Errorf("Digest of %v = %s, want %s", v.Topic, got, v.Digest)
		}
		// CIDv1, raw, SHA-256 of 32 bytes, in lower-case base32 without padding.
		raw := append([]byte{1, 0x55, 0x12, 0x20}, digest[:]...)
		if got := "b" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)); got != v.CID {
			t.Errorf("CID of %v = %s, want %s", v.Topic, got, v.CID)
		}
	}
	for _, v := range file.Endpoints {
		if got := Secret(mustHex(t, v.Secret)).Endpoint().String(); got != v.Endpoint {
			t.Errorf("Endpoint of %s = %s, want %s", v.Secret, got, v.Endpoint)
		}
	}
	labels := make(map[ProofLabel]bool)
	for _, v := range file.Proofs {
		labels[v.Label] = true
		sender, receiver := mustHex(t, v.Sender), mustHex(t, v.Receiver)
		want := [32]byte(mustHex(t, v.Proof))
		if got := v.Topic.Proof(v.Label, sender, receiver); got != want {
			t.Errorf("Proof(%q, %s, %s) = %x, want %s", v.Label, v.Sender, v.Receiver, got, v.Proof)
		}
		input := appendBytes(appendBytes(appendBytes(nil, v.Label), sender), receiver)
		if got := hex.EncodeToString(input); got != v.Input {
			t.Errorf("input of the proof is %s, want %s", got, v.Input)
		}
	}
	for _, v := range file.Guesses {
		sender, receiver, run := mustHex(t, v.Sender), mustHex(t, v.Receiver), Run(mustHex(t, v.Run))
		if got := v.Topic.Guess(sender, receiver, run); got != Tag(mustHex(t, v.Tag)) {
			t.Errorf("Guess(%s, %s, %s) = %x, want %s", v.Sender, v.Receiver, v.Run, got, v.Tag)
		}
		input := appendBytes(appendBytes(appendBytes(appendBytes(nil, "guess"), sender), receiver), run[:])
		if got := hex.EncodeToString(input); got != v.Input {
			t.Errorf("input of the tag is %s, want %s", got, v.Input)
		}
	}
	for _, l := range []ProofLabel{ProofMeet, ProofMet, ProofOpen, ProofOpened} {
		if !labels[l] {
			t.Errorf("no proof with label %q", l)
		}
	}
}

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
