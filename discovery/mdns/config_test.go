package mdns

import (
	"strings"
	"testing"
)

func TestConfigDefaults(t *testing.T) {
	self := &Self{ID: "12D3KooWtest", Port: 4001}
	cfg, err := Config{Policy: testPolicy(t), Self: self}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if self.Port = 1; cfg.Self.Port != 4001 {
		t.Error("the caller's Self was kept, not copied")
	}
}

func TestConfigMistakes(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no policy":               {},
		"an interface has no":     {Policy: testPolicy(t), Interfaces: []string{"eth0", ""}},
		`self: id ""`:             {Policy: testPolicy(t), Self: &Self{Port: 1}},
		`self: id "a b"`:          {Policy: testPolicy(t), Self: &Self{ID: "a b", Port: 1}},
		"not 1 to 128":            {Policy: testPolicy(t), Self: &Self{ID: strings.Repeat("x", 129), Port: 1}},
		"self: port 0 is":         {Policy: testPolicy(t), Self: &Self{ID: "x"}},
		"self: port 65536 is not": {Policy: testPolicy(t), Self: &Self{ID: "x", Port: 65536}},
	} {
		if n, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New = %v, %v, want an error that says %q", n, err, name)
		}
	}
	_, err := New(Config{Self: &Self{}})
	for _, want := range []string{"no policy", "self: id", "self: port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, which does not say %q", err, want)
		}
	}
}

// A name in DNS is one label of at most 63 bytes, and the same in upper and lower case.
func TestSelfInstance(t *testing.T) {
	a := (&Self{ID: strings.Repeat("Q", maxID)}).instance()
	b := (&Self{ID: strings.Repeat("q", maxID)}).instance()
	if len(a) > 63 || strings.ToLower(a) != a || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("instance %q is no plain label", a)
	}
	if a == b {
		t.Error("two hosts have one instance")
	}
}
