package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestTopicPrefix(t *testing.T) {
	whole := wtproto.TopicFromName("a").String()
	for _, test := range []struct {
		in string
		ok bool
	}{
		{whole, true},
		{strings.ToUpper(whole), true},
		{"*", true},
		{"ab12*", true},
		{whole + "*", true},
		{whole[:62], false},
		{"abc*", false},
		{whole + "00", false},
		{"wowcool", false},
		{"", false},
	} {
		p, err := ParseTopicPrefix(test.in)
		if (err == nil) != test.ok {
			t.Errorf("ParseTopicPrefix(%q) = %v, %v, want ok = %v", test.in, p, err, test.ok)
			continue
		}
		if again, err := ParseTopicPrefix(p.String()); test.ok && (err != nil || again.String() != p.String()) {
			t.Errorf("ParseTopicPrefix(%q) = %v, %v", p.String(), again, err)
		}
	}
}

func TestGrantAllows(t *testing.T) {
	a, b := wtproto.TopicFromName("a"), wtproto.TopicFromName("b")
	for _, test := range []struct {
		name         string
		grant        Grant
		onA, onB, on bool // topic a, topic b, network lan
	}{
		{"zero", Grant{}, true, true, true},
		{"exact", Grant{Topics: []TopicPrefix{a[:]}}, true, false, true},
		{"prefix", Grant{Topics: []TopicPrefix{b[:3]}}, false, true, true},
		{"all by prefix", Grant{Topics: []TopicPrefix{{}}}, true, true, true},
		{"none", Grant{Topics: []TopicPrefix{}, Networks: []string{}}, false, false, false},
		{"networks", Grant{Networks: []string{"dht", "lan"}}, true, true, true},
		{"other networks", Grant{Networks: []string{"dht"}}, true, true, false},
	} {
		onA, onB, on := test.grant.AllowsTopic(a), test.grant.AllowsTopic(b), test.grant.AllowsNetwork("lan")
		if onA != test.onA || onB != test.onB || on != test.on {
			t.Errorf("%s: %v, %v, %v, want %v, %v, %v", test.name, onA, onB, on, test.onA, test.onB, test.on)
		}
	}
}

func TestGrantExpired(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, test := range []struct {
		expires time.Time
		want    bool
	}{{time.Time{}, false}, {now.Add(1), false}, {now, true}, {now.Add(-1), true}} {
		if got := (&Grant{Expires: test.expires}).Expired(now); got != test.want {
			t.Errorf("expires at %v: Expired = %v, want %v", test.expires, got, test.want)
		}
	}
}

func TestGrantValidate(t *testing.T) {
	good := Grant{Topics: []TopicPrefix{{}, make([]byte, 32)}, Networks: []string{"dht"}}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	bad := Grant{Name: "a\nb", Topics: []TopicPrefix{make([]byte, 33)}, Networks: []string{""}}
	if err := bad.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("Validate = %v, want all three mistakes", err)
	}
}
