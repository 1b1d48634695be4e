package wtproto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

// Logs once had topics in full, and anybody who reads one can join it.
func TestTopicIsLoggedByItsDigest(t *testing.T) {
	topic := TopicFromName("wowcool")
	digest := topic.Digest()
	want := "topic=" + hex.EncodeToString(digest[:])[:8] + " "
	var text bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
		log := slog.New(h)
		log.With("topic", topic).Info("with")
		log.Info("of", "topic", topic, "pointer", &topic)
	}
	if got := text.String(); !strings.Contains(got, want) || strings.Contains(got, topic.String()[:8]) {
		t.Errorf("logged %q, want %q and nothing else of the topic", got, want)
	}
}

func TestTopicFromText(t *testing.T) {
	topic := TopicFromName("wowcool")
	for _, text := range []string{"wowcool", topic.String(), strings.ToUpper(topic.String())} {
		if got := TopicFromText(text); got != topic {
			t.Errorf("TopicFromText(%q) = %v, want %v", text, got, topic)
		}
	}
	almost := topic.String()[1:] + "g"
	if got := TopicFromText(almost); got != TopicFromName(almost) {
		t.Errorf("TopicFromText(%q) = %v, want the topic of that name", almost, got)
	}
}

func TestTopicJSON(t *testing.T) {
	type doc struct{ Topic Topic }
	want := doc{TopicFromName("wowcool")}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got doc
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s was read as %v, %v", b, got, err)
	}
	if err := json.Unmarshal([]byte(`{"Topic":"abc"}`), &got); err == nil || got != want {
		t.Errorf("a text of three digits was read as %v, %v, want an error and no change", got, err)
	}
}

// A proof holds for one topic, one label, one sender and one receiver.
func TestVerifyProof(t *testing.T) {
	topic, a, b := TopicFromName("wowcool"), []byte("peer a"), []byte("peer b")
	proof := topic.Proof(ProofMeet, a, b)
	flipped := proof
	flipped[31] ^= 1
	for _, test := range []struct {
		name string
		got  bool
		want bool
	}{
		{"as it was made", topic.VerifyProof(proof, ProofMeet, a, b), true},
		{"another topic", TopicFromName("other").VerifyProof(proof, ProofMeet, a, b), false},
		{"another label", topic.VerifyProof(proof, ProofMet, a, b), false},
		{"reflected", topic.VerifyProof(proof, ProofMeet, b, a), false},
		{"moved border", topic.VerifyProof(proof, ProofMeet, []byte("peer apeer"), []byte(" b")), false},
		{"a bit flipped", topic.VerifyProof(flipped, ProofMeet, a, b), false},
		{"zero", topic.VerifyProof([32]byte{}, ProofMeet, a, b), false},
	} {
		if test.got != test.want {
			t.Errorf("%s: VerifyProof = %v, want %v", test.name, test.got, test.want)
		}
	}
}

func TestTopicFromID(t *testing.T) {
	got := TopicFromID([IDSize]byte{0: 0xab, 19: 0xcd})
	if want := "ab" + strings.Repeat("00", 18) + "cd" + strings.Repeat("00", 12); got.String() != want {
		t.Errorf("TopicFromID = %v, want %s", got, want)
	}
}
