package wtproto

import (
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// urlFile is what testdata/vectors/README.md says of urls.json.
type urlFile struct {
	URLs []urlVector `json:"urls"`
}

type urlVector struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Host      string   `json:"host"`
	Port      string   `json:"port"`
	Hashes    []string `json:"hashes"`
	Topic     string   `json:"topic"`
	Secret    string   `json:"secret"`
	Canonical string   `json:"canonical"`
	Error     bool     `json:"error"`
}

func readURLVectors(t testing.TB) []urlVector {
	t.Helper()
	var file urlFile
	readStrictly(t, "urls.json", &file)
	return file.URLs
}

func TestGatewayURLVectors(t *testing.T) {
	for _, v := range readURLVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := ParseGatewayURL(v.URL)
			if v.Error {
				if err == nil {
					t.Fatalf("ParseGatewayURL = %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			port, err := strconv.ParseUint(v.Port, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			want := GatewayURL{Host: v.Host, Port: uint16(port), Topic: v.Topic, Secret: v.Secret}
			for _, h := range v.Hashes {
				want.Hashes = append(want.Hashes, [32]byte(mustHex(t, h)))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("ParseGatewayURL = %+v, want %+v", got, want)
			}
			canonical := v.Canonical
			if canonical == "" {
				canonical = v.URL
			}
			if got.String() != canonical {
				t.Errorf("String = %s, want %s", got, canonical)
			}
		})
	}
}

// The example of PROTOCOL.md is the first vector.
func TestProtocolGatewayURL(t *testing.T) {
	if example := readURLVectors(t)[0].URL; !strings.Contains(section(t, readProtocol(t), "### 2.3"), example) {
		t.Errorf("section 2.3 does not have %s", example)
	}
}

func TestGatewayURLParts(t *testing.T) {
	u := GatewayURL{Host: "::1"}
	if got := u.Address(); got != "[::1]:443" {
		t.Errorf("Address = %s, want [::1]:443", got)
	}
	if _, ok := u.Key(); ok {
		t.Error("a URL without a topic has a key")
	}
	named := u.WithTopic("wowcool")
	if key, ok := named.Key(); !ok || key != TopicFromName("wowcool") {
		t.Errorf("Key = %v, %v, want that of the name", key, ok)
	}
	if key, ok := u.WithTopic(strings.ToUpper(hex.EncodeToString(key(t)))).Key(); !ok || key != TopicFromName("wowcool") {
		t.Errorf("Key = %v, %v, want the key that was spelled", key, ok)
	}
	room := named.WithSecret("wow cool")
	if _, ok := room.Key(); ok || room.String() != "swarmgate://[::1]:443/#secret=wow%20cool" {
		t.Errorf("with a secret: %v, has a key: %v", room, ok)
	}
	if again := room.WithTopic("wowcool"); !reflect.DeepEqual(again, named) {
		t.Errorf("WithTopic of a URL with a secret = %v", again)
	}
	text, _ := named.MarshalText()
	var again GatewayURL
	if err := again.UnmarshalText(text); err != nil || again.String() != string(text) {
		t.Errorf("UnmarshalText(%s) = %v, %v", text, again, err)
	}
	if err := again.UnmarshalText([]byte("x")); err == nil || again.Host != "::1" {
		t.Errorf("UnmarshalText of no URL = %v, and the URL is %v", err, again)
	}
}

func key(t *testing.T) []byte {
	t.Helper()
	k := TopicFromName("wowcool")
	return k[:]
}

// FuzzGatewayURL finds what is parsed and, printed and parsed again, is something else.
func FuzzGatewayURL(f *testing.F) {
	for _, v := range readURLVectors(f) {
		f.Add(v.URL)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseGatewayURL(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "wtproto: gateway URL: ") {
				t.Fatalf("error %q", err)
			}
			return
		}
		again, err := ParseGatewayURL(u.String())
		if err != nil || !reflect.DeepEqual(again, u) {
			t.Fatalf("%+v, printed and parsed, is %+v, %v", u, again, err)
		}
		for _, c := range []byte(u.String()) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte(`"'()<>`, c) >= 0 {
				t.Fatalf("%s has %q", u, c)
			}
		}
	})
}
