package mdns

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/wtproto"
)

// service is a DNS-SD service type, and the TXT key that names the topic or host of an instance.
type service struct {
	name  string
	key   string
	value func(text string) (string, bool) // the usual spelling of a value of the key, and whether it is valid
	proxy bool                             // an instance may be on another machine than the one that announces it
	most  int                              // instances that one origin may announce; 0 for any number
}

// A host has to prove its id when we connect to it. A TCP service proves nothing, and gets a
// client's bytes at once.
var (
	topicService = &service{name: "_swarmgate._tcp", key: "topic", value: func(s string) (string, bool) {
		t, err := wtproto.ParseTopic(s)
		return t.String(), err == nil
	}}
	hostService = &service{name: "_swarmgate._udp", key: "id", proxy: true, most: 64, value: func(s string) (string, bool) {
		return s, isID(s)
	}}
)

// full returns the name of s in the domain of multicast DNS, canonical.
func (s *service) full() string { return s.name + "." + domain }

// browsing returns the question for the instances of s.
func (s *service) browsing() dns.Question {
	return dns.Question{Name: s.full(), Qtype: dns.TypePTR, Qclass: dns.ClassINET}
}

// read returns the value of the key of s among the strings of a TXT record, or "" if there is none
// or it is not valid. The first string with the key counts, in any case (RFC 6763, 6.4).
func (s *service) read(text []string) string {
	for _, t := range text {
		if k, v, ok := strings.Cut(t, "="); ok && strings.EqualFold(k, s.key) {
			if v, ok = s.value(v); ok {
				return v
			}
			return ""
		}
	}
	return ""
}
