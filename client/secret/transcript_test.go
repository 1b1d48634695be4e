package secret

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/flynn/noise"
)

var update = flag.Bool("update", false, "write the vectors in testdata")

// hexBytes are bytes that are hexadecimal digits in a vector.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// transcript is what testdata/README.md says of transcript.json.
type transcript struct {
	Secret    hexBytes            `json:"secret"`
	Topic     hexBytes            `json:"topic"`
	PSK       hexBytes            `json:"psk"`
	Prologue  hexBytes            `json:"prologue"`
	Rekey     uint64              `json:"rekey"`
	Initiator transcriptEnd       `json:"initiator"`
	Responder transcriptEnd       `json:"responder"`
	Messages  []transcriptMessage `json:"messages"`
	Binding   hexBytes            `json:"binding"`
	Records   []transcriptRecord  `json:"records"`
}

type transcriptEnd struct {
	Static    transcriptKey `json:"static"`
	Ephemeral transcriptKey `json:"ephemeral"`
}

type transcriptKey struct {
	Private hexBytes `json:"private"`
	Public  hexBytes `json:"public"`
}

type transcriptMessage struct {
	From string   `json:"from"`
	Wire hexBytes `json:"wire"`
}

type transcriptRecord struct {
	From    string   `json:"from"`
	Counter uint64   `json:"counter"`
	Key     hexBytes `json:"key"`
	Data    hexBytes `json:"data"`
	Wire    hexBytes `json:"wire"`
}

// derived is what testdata/README.md says of derived.json.
type derived struct {
	Secrets []derivedSecret `json:"secrets"`
}

type derivedSecret struct {
	Text   string   `json:"text,omitempty"`
	Secret hexBytes `json:"secret"`
	Topic  hexBytes `json:"topic"`
	PSK    hexBytes `json:"psk"`
}

const vectors = "testdata"

// checkVector compares a file with what v is, or writes it.
func checkVector(t *testing.T, name string, v any) {
	t.Helper()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(vectors, name)
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the package makes:\n%s", path, want.Bytes())
	}
}

func TestDerivedVectors(t *testing.T) {
	var v derived
	add := func(text string, s Secret) {
		topic, psk := s.Topic(), s.psk()
		v.Secrets = append(v.Secrets, derivedSecret{text, s[:], topic[:], psk[:]})
	}
	var count Secret
	for i := range count {
		count[i] = byte(i)
	}
	add("", Secret{})
	add("", count)
	for _, text := range []string{"42-tulip-lantern-parade", "Grüße 👋 "} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		add(text, s)
	}
	checkVector(t, "derived.json", v)
}

// fixedKey returns a key pair whose private key is 32 times b, plus its place.
func fixedKey(b byte) transcriptKey {
	private := make([]byte, 32)
	for i := range private {
		private[i] = b + byte(i)
	}
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		panic(err)
	}
	return transcriptKey{private, key.PublicKey().Bytes()}
}

// identityOf returns the identity with this key.
func identityOf(t testing.TB, k transcriptKey) *Identity {
	t.Helper()
	id, err := ParseIdentity(k.Private)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// makeTranscript runs both ends with fixed keys.
func makeTranscript(t testing.TB) transcript {
	t.Helper()
	var s Secret
	for i := range s {
		s[i] = 0x10 + byte(i)
	}
	topic, psk := s.Topic(), s.psk()
	v := transcript{
		Secret: s[:], Topic: topic[:], PSK: psk[:], Prologue: append([]byte(label), topic[:]...), Rekey: 3,
		Initiator: transcriptEnd{fixedKey(0x20), fixedKey(0x40)},
		Responder: transcriptEnd{fixedKey(0x60), fixedKey(0x80)},
	}
	x, y := newPipe()
	ends := [2]secured{}
	var errs [2]error
	var wg sync.WaitGroup
	for i, end := range []transcriptEnd{v.Initiator, v.Responder} {
		room := NewRoom(s, identityOf(t, end.Static))
		wg.Go(func() {
			ends[i], errs[i] = room.shake([]*pipe{x, y}[i], i == 0, bytes.NewReader(end.Ephemeral.Private))
		})
	}
	wg.Wait()
	if errs[0] != nil || errs[1] != nil || ends[0].binding != ends[1].binding {
		t.Fatal(errs, ends[0].binding, ends[1].binding)
	}
	v.Binding = ends[0].binding[:]
	sent := x.out.sent.Bytes()
	v.Messages = []transcriptMessage{
		{From: "initiator", Wire: sent[:2+minMessage1]},
		{From: "responder", Wire: y.out.sent.Bytes()},
		{From: "initiator", Wire: sent[2+minMessage1:]},
	}

	names := []string{"initiator", "responder"}
	send := [2]direction{{ends[0].send, v.Rekey}, {ends[1].send, v.Rekey}}
	receive := [2]direction{{ends[1].receive, v.Rekey}, {ends[0].receive, v.Rekey}}
	for _, r := range []struct {
		from int
		data string
	}{
		{0, "hello"},
		{0, "\x00"},
		{1, "hello back"},
		{0, strings.Repeat("third ", 10)},
		{0, "with the second key"},
		{1, "two"},
		{1, "three"},
		{0, "five"},
		{1, "the responder's second key"},
		{0, "six"},
		{0, "with the third key"},
		{0, ""},
		{1, "the other way is still open"},
		{1, ""},
	} {
		counter, key := send[r.from].state.Nonce(), send[r.from].state.UnsafeKey()
		wire, err := send[r.from].seal(make([]byte, 0, 2), []byte(r.data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := receive[r.from].open(nil, wire[2:]); err != nil || string(data) != r.data {
			t.Fatalf("%q, %v, want %q", data, err, r.data)
		}
		v.Records = append(v.Records, transcriptRecord{names[r.from], counter, key[:], hexBytes(r.data), wire})
	}
	return v
}

func TestTranscriptVector(t *testing.T) {
	checkVector(t, "transcript.json", makeTranscript(t))
}

// docs/SECRET.md shows the transcript.
func TestTranscriptIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/SECRET.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), "")
	v := readTranscript(t)
	shown := []hexBytes{v.Secret, v.Topic, v.PSK, v.Binding}
	for _, m := range v.Messages {
		shown = append(shown, m.Wire)
	}
	for _, r := range v.Records {
		shown = append(shown, r.Wire)
	}
	for _, bytes := range shown {
		if !strings.Contains(text, hex.EncodeToString(bytes)) {
			t.Errorf("docs/SECRET.md does not have %x", []byte(bytes))
		}
	}
}

func readTranscript(t testing.TB) (v transcript) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, "transcript.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// wire returns all bytes of one side of v, and the data in its records.
func (v transcript) wire(from string) (wire, data []byte) {
	for _, m := range v.Messages {
		if m.From == from {
			wire = append(wire, m.Wire...)
		}
	}
	for _, r := range v.Records {
		if r.From == from {
			wire, data = append(wire, r.Wire...), append(data, r.Data...)
		}
	}
	return wire, data
}

// play gives one end of v what the other end of it sends, as wire says, and FIN. It returns what
// that end has read until its error.
func (v transcript) play(t testing.TB, initiator bool, wire []byte) ([]byte, error) {
	t.Helper()
	own := v.Responder
	if initiator {
		own = v.Initiator
	}
	x, y := newPipe()
	y.out.window = len(wire)
	room := NewRoom(Secret(v.Secret), identityOf(t, own.Static))
	room.interval = v.Rekey
	y.Write(wire)
	y.CloseWrite()
	conn, err := room.seal(t.Context(), x, initiator, bytes.NewReader(own.Ephemeral.Private))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(conn)
	conn.Reset(0)
	return data, err
}

func TestTranscriptIsRead(t *testing.T) {
	v := readTranscript(t)
	for i, from := range []string{"responder", "initiator"} {
		t.Run(from, func(t *testing.T) {
			wire, want := v.wire(from)
			got, err := v.play(t, i == 0, wire)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
}

// playRecords is play without a handshake: wire begins with the first record.
func (v transcript) playRecords(t testing.TB, initiator bool, wire []byte) ([]byte, error) {
	t.Helper()
	keys := make(map[string]*noise.CipherState) // the first one of each direction
	for _, r := range v.Records {
		if keys[r.From] == nil {
			keys[r.From] = noise.UnsafeNewCipherState(suite, [32]byte(r.Key), 0)
		}
	}
	s := secured{send: keys["responder"], receive: keys["initiator"]}
	if initiator {
		s.send, s.receive = s.receive, s.send
	}
	x, y := newPipe()
	y.Write(wire)
	y.CloseWrite()
	conn := newConn(x, initiator, s, v.Rekey)
	data, err := io.ReadAll(conn)
	conn.Reset(0)
	return data, err
}

// handshake returns how many bytes the handshake of one side has.
func (v transcript) handshake(from string) (n int) {
	for _, m := range v.Messages {
		if m.From == from {
			n += len(m.Wire)
		}
	}
	return n
}

// playBriefly is play, but leaves out the handshake if wire has nothing special before at.
func (v transcript) playBriefly(t testing.TB, initiator bool, wire []byte, at int) ([]byte, error) {
	from := "initiator"
	if initiator {
		from = "responder"
	}
	if n := v.handshake(from); at >= n {
		return v.playRecords(t, initiator, wire[n:])
	}
	return v.play(t, initiator, wire)
}

// One bit that is changed anywhere ends the circuit with an error, and nothing is read that was not
// sent.
func TestOneBitIsChanged(t *testing.T) {
	v := readTranscript(t)
	for i, from := range []string{"responder", "initiator"} {
		wire, want := v.wire(from)
		handshake := v.handshake(from)
		if got, err := v.playRecords(t, i == 0, wire[handshake:]); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("records alone: %q, %v", got, err)
		}
		for bit := range 8 * len(wire) {
			bad := bytes.Clone(wire)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := v.playBriefly(t, i == 0, bad, bit/8)
			isEnd := bit/8 >= len(wire)-2-tagSize
			if err == nil || !bytes.HasPrefix(want, got) || len(got) == len(want) && !isEnd {
				t.Fatalf("%s, byte %d, bit %d: read %q, %v", from, bit/8, bit%8, got, err)
			}
			wantProtocol(t, err)
		}
	}
}

// A direction that ends anywhere but behind its end record was cut off, at the boundary of a record
// too.
func TestCutOff(t *testing.T) {
	v := readTranscript(t)
	for i, from := range []string{"responder", "initiator"} {
		wire, want := v.wire(from)
		for n := range wire {
			got, err := v.playBriefly(t, i == 0, wire[:n], n)
			if err == nil || !bytes.HasPrefix(want, got) {
				t.Fatalf("%s, %d bytes: read %q, %v", from, n, got, err)
			}
			wantProtocol(t, err)
			if s := fmt.Sprint(err); !strings.Contains(s, io.ErrUnexpectedEOF.Error()) {
				t.Fatalf("%s, %d bytes: %v", from, n, err)
			}
		}
		if got, err := v.play(t, i == 0, append(bytes.Clone(wire), 0)); !bytes.Equal(got, want) || err == nil {
			t.Fatalf("%s, a byte behind the end: %q, %v", from, got, err)
		} else {
			wantProtocol(t, err)
		}
	}
}
