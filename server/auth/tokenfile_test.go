package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codeOf returns the code of err, CodeNone for nil, CodeInternal for one without.
func codeOf(err error) wtproto.Code {
	if e, ok := errors.AsType[*wtproto.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return wtproto.CodeInternal
	}
	return wtproto.CodeNone
}

// hashOf returns the SHA-256 of a token in hexadecimal digits.
func hashOf(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// file writes a file, and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenFile(t *testing.T) {
	topic := wtproto.TopicFromName("a")
	past, future := time.Now().Add(-time.Hour).UTC(), time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	f, err := NewTokenFile(file(t, "# people\n\n"+
		"alice "+hashOf("t-alice")+"\n"+
		"  bob\t"+strings.ToUpper(hashOf("t-bob"))+"   {\"topics\": [\""+topic.String()+"\", \"ab*\"], \"announce\": false, \"limits\": {\"sessions\": 4}}  \r\n"+
		"bob "+hashOf("t-bob-2")+" {\"look_up\": false, \"networks\": [], \"expires\": \""+future.Format(time.RFC3339)+"\"}\n"+
		"old "+hashOf("t-old")+" {\"expires\": \""+past.Format(time.RFC3339)+"\"}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		token string
		want  Grant
		code  wtproto.Code
	}{
		{"t-alice", Grant{Name: "alice"}, wtproto.CodeNone},
		{"t-bob", Grant{Name: "bob", Topics: []TopicPrefix{topic[:], {0xab}}, DenyAnnounce: true, Limits: Limits{Sessions: 4}}, wtproto.CodeNone},
		{"t-bob-2", Grant{Name: "bob", DenyLookUp: true, Networks: []string{}, Expires: future}, wtproto.CodeNone},
		{"t-old", Grant{}, wtproto.CodeTokenExpired},
		{"t-alic", Grant{}, wtproto.CodeUnauthorized},
		{hashOf("t-alice"), Grant{}, wtproto.CodeUnauthorized},
		{"", Grant{}, wtproto.CodeUnauthorized},
	} {
		g, err := f.Authorize(t.Context(), Request{Token: []byte(tt.token)})
		if codeOf(err) != tt.code || err == nil && !reflect.DeepEqual(g, tt.want) {
			t.Errorf("%q: %+v, %v, want %+v, %v", tt.token, g, err, tt.want, tt.code)
		}
	}
}

// Every bad line is named, and nobody comes in by a file that has one.
func TestTokenFileMistakes(t *testing.T) {
	good := hashOf("x")
	for i, line := range []string{
		"alice",
		"alice 12",
		"alice " + good + "00",
		"alice " + good[:63] + "g",
		good,
		"alice " + good + " topics=a",
		"alice " + good + ` {"topic": ["aa*"]}`,
		"alice " + good + ` {"topics": ["wowcool"]}`,
		"alice " + good + ` {"networks": [""]}`,
		"alice " + good + ` {"name": "bob"}`,
		"alice " + good + ` {"limits": {"session": 4}}`,
		"alice " + good + ` {} {}`,
		strings.Repeat("a", 129) + " " + good,
		"a\x00b " + good,
	} {
		_, err := NewTokenFile(file(t, "ok "+hashOf("ok")+"\n"+line+"\n\n# fine\nbob nothing\n"), nil)
		if err == nil || !strings.Contains(err.Error(), "line 2: ") || !strings.Contains(err.Error(), "line 5: ") {
			t.Errorf("case %d, %q: %v, want lines 2 and 5", i, line, err)
		}
	}
	_, err := NewTokenFile(file(t, "a "+good+"\nb "+good+"\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "line 2: the same token as line 1") {
		t.Errorf("the same token twice: %v", err)
	}
	if _, err := NewTokenFile(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// The file is read again when it changes; a bad one is logged once and changes nothing.
func TestTokenFileIsFollowed(t *testing.T) {
	path := file(t, "a "+hashOf("a"))
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f, err := NewTokenFile(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		check := func(when, token string, want wtproto.Code) {
			t.Helper()
			if _, err := f.Authorize(t.Context(), Request{Token: []byte(token)}); codeOf(err) != want {
				t.Errorf("%s: %s: %v, want %v", when, token, err, want)
			}
		}
		write("b " + hashOf("b"))
		check("at once", "a", wtproto.CodeNone)
		time.Sleep(time.Second)
		check("a second later", "a", wtproto.CodeUnauthorized)
		check("a second later", "b", wtproto.CodeNone)
		write("b")
		for range 3 {
			time.Sleep(time.Second)
			check("with a bad file", "b", wtproto.CodeNone)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("the bad file was logged %d times:\n%s", n, log.String())
		}
		if strings.Contains(log.String(), hashOf("b")) {
			t.Errorf("the log tells hashes:\n%s", log.String())
		}
	})
}

// What is written is what is read.
func TestTokenLine(t *testing.T) {
	topic := wtproto.TopicFromName("a")
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, g := range []Grant{
		{Name: "a"},
		{Name: "a", Topics: []TopicPrefix{}, Networks: []string{}},
		{Name: "a", Topics: []TopicPrefix{topic[:], {1, 2}, {}}, DenyAnnounce: true, DenyLookUp: true, Networks: []string{"lan", "client"}, Expires: expires},
		{Name: "é", Limits: Limits{Sessions: 1, Topics: -1, NewTopics: 2, Circuits: 3, BytesPerSecond: 1 << 40, Bytes: 5}},
	} {
		hash := sha256.Sum256([]byte("t"))
		line, err := FormatTokenLine(hash, g)
		if err != nil {
			t.Fatal(err)
		}
		gotHash, got, err := ParseTokenLine(line)
		if err != nil || gotHash != hash || !reflect.DeepEqual(got, g) {
			t.Errorf("%s is read as %+v, %v, want %+v", line, got, err, g)
		}
	}
	for _, name := range []string{"", "a b", "#a", "a\tb", "a\n", " a"} {
		if line, err := FormatTokenLine([32]byte{}, Grant{Name: name}); err == nil {
			t.Errorf("name %q makes the line %q", name, line)
		}
	}
}

func TestGrantJSON(t *testing.T) {
	for in, ok := range map[string]bool{
		`{}`:                            true,
		`{"topics": null}`:              true,
		`{"announce": true}`:            true,
		`{"Topics": ["aa*"]}`:           true,
		`[]`:                            false,
		`"a"`:                           false,
		`{"topics": "aa*"}`:             false,
		`{"topics": [null]}`:            false,
		`{"denyannounce": true}`:        false,
		`{"limits": {"sessions": 1.5}}`: false,
		`{"limits": {"bytes": 99999999999999999999}}`: false,
		`{"expires": 12}`:                              false,
		`{"expires": "tomorrow"}`:                      false,
		`{"name": "` + strings.Repeat("a", 129) + `"}`: false,
	} {
		var g Grant
		if err := json.Unmarshal([]byte(in), &g); (err == nil) != ok {
			t.Errorf("%s: %v, want ok = %v", in, err, ok)
		}
	}
}

func TestNewToken(t *testing.T) {
	a, b := NewToken(), NewToken()
	if len(a) != 43 || a == b || strings.Trim(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("tokens %q and %q", a, b)
	}
	for range 1000 {
		if token := NewToken(); token[0] == '-' {
			t.Fatalf("%q looks like a flag", token)
		}
	}
}
