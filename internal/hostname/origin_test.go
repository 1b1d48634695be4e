package hostname

import "testing"

func TestParseOrigins(t *testing.T) {
	for in, want := range map[string]string{
		"*":                                   "*",
		"https://app.example":                 "https://app.example",
		"HTTPS://App.Example":                 "https://app.example",
		"https://app.example/":                "https://app.example",
		"https://app.example.":                "https://app.example",
		"https://app.example:443":             "https://app.example",
		"https://app.example:0443":            "https://app.example",
		"https://app.example:":                "https://app.example",
		"http://app.example:80":               "http://app.example",
		"http://app.example:443":              "http://app.example:443",
		"https://bücher.example:8443":         "https://xn--bcher-kva.example:8443",
		"https://[2001:0DB8:0::1]:443":        "https://[2001:db8::1]",
		"https://[::ffff:192.0.2.1]":          "https://[::ffff:c000:201]",
		"http://my_app:8080":                  "http://my_app:8080",
		"https://*.app.example":               "https://*.app.example",
		"https://*.Bücher.example:443":        "https://*.xn--bcher-kva.example",
		"http://*.localhost:8080":             "http://*.localhost:8080",
		"chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop",
		"capacitor://localhost":               "capacitor://localhost",
	} {
		got, err := ParseOrigins(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseOrigins(%q) = %v, %v; want %s", in, got, err, want)
		}
		if again, err := ParseOrigins(got.String()); again != got || err != nil {
			t.Errorf("ParseOrigins(%q) = %v, %v", got, again, err)
		}
	}
	for _, in := range []string{
		"", "null", "app.example", "*.app.example", "https://", "https://*", "https://*.", "https://a.*.example", "https://*a.example", "https://*.*.example",
		"https://app.example:99999", "https://app.example:0", "https://app.example:x", "https://app.example/page", "https://app.example//",
		"https://app.example?a", "https://app.example#a", "https://me@app.example", "https://%", "https://a b", "https://::1", "https://[::1%eth0]",
		"https://[::1", "https://127.1", "https://*.192.0.2.1", "https://*.[::1]", "//app.example", "https:app.example", "wss://app.example", "file://", "file:///tmp",
		"1x://app.example", "https://a,https://b",
	} {
		if got, err := ParseOrigins(in); err == nil {
			t.Errorf("ParseOrigins(%q) = %v, want an error", in, got)
		}
	}
}

func TestOriginsContain(t *testing.T) {
	for _, c := range []struct {
		origins, header string
		want            bool
	}{
		{"*", "https://evil.example", true},
		{"*", "null", true},
		{"https://app.example", "https://app.example", true},
		{"https://app.example:443", "https://app.example", true},
		{"https://bücher.example", "https://xn--bcher-kva.example", true},
		{"https://app.example", "http://app.example", false},
		{"https://app.example", "https://app.example:444", false},
		{"https://app.example", "https://app.example.evil.example", false},
		{"https://app.example", "https://a.app.example", false},
		{"https://app.example", "null", false},
		{"https://app.example", "", false},
		{"https://*.app.example", "https://a.app.example", true},
		{"https://*.app.example", "https://a.b.app.example", true},
		{"https://*.app.example", "https://app.example", false},
		{"https://*.app.example", "https://evilapp.example", false},
		{"https://*.app.example", "https://a.app.example:8443", false},
		{"https://*.app.example:8443", "https://a.app.example:8443", true},
		{"https://*.app.example", "http://a.app.example", false},
		{"https://*.app.example", "https://a.app.example.evil.example", false},
		{"https://*.app.example", "https://evil.example/.app.example", false},
	} {
		o, err := ParseOrigins(c.origins)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := ParseOrigin(c.header)
		if got := o.Contain(header); got != c.want {
			t.Errorf("%s contain %q: %v, want %v", c.origins, c.header, got, c.want)
		}
	}
	if (Origins{}).Contain(Origin{}) || (Origins{}).Contain(Origin{Scheme: "https", At: HostPort{Host: "app.example"}}) {
		t.Error("no origins contain one")
	}
}
