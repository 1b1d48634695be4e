package wtproto

import (
	"strings"
	"testing"
)

func TestParseSignal(t *testing.T) {
	key := strings.Repeat("0f", 16)
	for _, test := range []struct {
		text string
		want Signal
		bad  bool
	}{
		{"session " + key, Signal{Word: "session", Key: key}, false},
		{"stream " + key, Signal{Word: "stream", Key: key}, false},
		{"fin", Signal{Word: "fin"}, false},
		{"reset 0", Signal{Word: "reset"}, false},
		{"reset 4294967295", Signal{Word: "reset", Number: 1<<32 - 1}, false},
		{"stop 00000000000000000016", Signal{Word: "stop", Number: 16}, false},
		{"window 65536", Signal{Word: "window", Number: 65536}, false},
		{"window 4611686018427387903", Signal{Word: "window", Number: 1<<62 - 1}, false},
		{"", Signal{}, false}, // unknown words are ignored
		{"FIN", Signal{}, false},
		{"finish", Signal{}, false},
		{" fin", Signal{}, false},
		{"pause 1 2", Signal{}, false},
		{"session", Signal{}, true},
		{"session ", Signal{}, true},
		{"session " + key + " ", Signal{}, true},
		{"session " + key[1:], Signal{}, true},
		{"session " + strings.ToUpper(key), Signal{}, true},
		{"stream " + key + "00", Signal{}, true},
		{"stream  " + key, Signal{}, true},
		{"fin ", Signal{}, true},
		{"fin 1", Signal{}, true},
		{"reset", Signal{}, true},
		{"reset 4294967296", Signal{}, true},
		{"reset -1", Signal{}, true},
		{"reset +1", Signal{}, true},
		{"reset 1\n", Signal{}, true},
		{"reset 0x1", Signal{}, true},
		{"stop 1_0", Signal{}, true},
		{"stop 1 2", Signal{}, true},
		{"stop 000000000000000000016", Signal{}, true},
		{"window 4611686018427387904", Signal{}, true},
		{"window 18446744073709551616", Signal{}, true},
		{"window ٣", Signal{}, true},
		{"hm\xff", Signal{}, true},
		{"fin\xc0", Signal{}, true},
	} {
		got, err := ParseSignal([]byte(test.text))
		if got != test.want || (err != nil) != test.bad || err != nil && codeOf(err) != CodeProtocol {
			t.Errorf("ParseSignal(%q) = %+v, %v, want %+v, bad %v", test.text, got, err, test.want, test.bad)
		}
	}
}

// What is read is what String writes, and the other way round.
func FuzzSignal(f *testing.F) {
	for _, s := range []string{"session " + strings.Repeat("0f", 16), "fin", "reset 16", "stop 4294967295", "window 65536", "hm", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSignal(b)
		if err != nil || s.Word == "" {
			return
		}
		if again, err := ParseSignal([]byte(s.String())); again != s || err != nil {
			t.Errorf("%q is %+v, which is %q, which is %+v, %v", b, s, s, again, err)
		}
	})
}
