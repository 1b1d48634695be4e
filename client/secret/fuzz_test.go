package secret

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// FuzzSealed gives one end of the transcript's circuit any bytes instead of the other end's. It
// reads nothing that the other end has not sent, and ends regularly only with the right bytes.
func FuzzSealed(f *testing.F) {
	v := readTranscript(f)
	for i, from := range []string{"responder", "initiator"} {
		wire, _ := v.wire(from)
		f.Add(i == 0, wire)
		f.Add(i == 0, wire[:len(wire)-2-tagSize])
		f.Add(i == 0, append(bytes.Clone(wire[:v.handshake(from)]), 0, 0, 0xff, 0xff))
	}
	f.Fuzz(func(t *testing.T, initiator bool, wire []byte) {
		from := "initiator"
		if initiator {
			from = "responder"
		}
		right, want := v.wire(from)
		got, err := v.play(t, initiator, wire)
		if !bytes.HasPrefix(want, got) || (err == nil) != bytes.Equal(wire, right) {
			t.Errorf("read %q, %v", got, err)
		}
		if err != nil {
			wantProtocol(t, err)
		}
	})
}
