package acme

import (
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		what string
		cfg  Config
		want string // a part of the error; empty for none
	}{
		{"a public name", Config{Names: []string{"a.example"}}, ""},
		{"a public address", Config{Names: []string{"192.0.2.1"}}, ""},
		{"a name that no public authority certifies", Config{Names: []string{"localhost", "10.0.0.1", "gate.local"}}, "no name"},
		{"the same at one of the operator's", Config{Names: []string{"localhost"}, Directory: "https://ca.local/dir"}, ""},
		{"no name", Config{}, "no name"},
		{"no address of anybody", Config{Names: []string{"a.example", "::"}}, "::: nobody"},
		{"an authority in the clear", Config{Names: []string{"a.example"}, Directory: "http://ca.local/dir"}, "https://"},
		{"an authority without a name", Config{Names: []string{"a.example"}, Directory: "ca.local"}, "https://"},
		{"an account", Config{Names: []string{"a.example"}, Account: &Account{"id", "c2VjcmV0LQ"}}, ""},
		{"an account with padding", Config{Names: []string{"a.example"}, Account: &Account{"id", "c2VjcmV0LQ=="}}, ""},
		{"an account with another key", Config{Names: []string{"a.example"}, Account: &Account{"id", "!"}}, "base64"},
		{"an account without key", Config{Names: []string{"a.example"}, Account: &Account{ID: "id"}}, "base64"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// Let's Encrypt refuses private names, and counts that as a mistake of the operator. They are
// names of the gateway nevertheless, as Hosts and in the pinned certificate.
func TestPrivateNamesAreNotAskedForAtLetsEncrypt(t *testing.T) {
	names := []string{"a.example", "localhost", "192.168.0.1", "192.0.2.1", "::1"}
	for directory, want := range map[string][]string{
		"": {"a.example", "192.0.2.1"}, LetsEncrypt: {"a.example", "192.0.2.1"}, LetsEncryptStaging: {"a.example", "192.0.2.1"},
		"https://api.letsencrypt.org.example/dir": names,
	} {
		if got := (&Config{Names: names, Directory: directory}).wanted(); !slices.Equal(got, want) {
			t.Errorf("%q certifies %q, want %q", directory, got, want)
		}
	}
}
