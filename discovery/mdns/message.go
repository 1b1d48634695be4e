package mdns

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Multicast DNS (RFC 6762).
const (
	domain    = "local."
	port      = 5353
	classMask = 1<<15 - 1 // the highest bit of a class has a meaning of its own
	flushBit  = 1 << 15
)

// The groups of multicast DNS.
var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	group6 = netip.MustParseAddr("ff02::fb")
)

// parseAnswers returns what the multicast DNS response b says that matters to services, in its
// order; nothing if b is not one. What cannot be read is left out.
func parseAnswers(b []byte, services []*service) []answer {
	var msg dns.Msg
	_ = msg.Unpack(b) // what was read before the mistake counts
	if !msg.Response || msg.Opcode != dns.OpcodeQuery || msg.Rcode != dns.RcodeSuccess {
		return nil
	}
	var out []answer
	for _, section := range [][]dns.RR{msg.Answer, msg.Extra} {
		for _, rr := range section {
			if a, ok := parseAnswer(rr, services); ok {
				out = append(out, a)
			}
		}
	}
	return out
}

// parseAnswer reads rr, and reports whether it may matter to services.
func parseAnswer(rr dns.RR, services []*service) (answer, bool) {
	h := rr.Header()
	if h.Class&classMask != dns.ClassINET || h.Rdlength == 0 {
		return answer{}, false
	}
	a := answer{
		set:   set{name: dns.CanonicalName(h.Name), kind: h.Rrtype},
		owner: h.Name,
		ttl:   time.Duration(h.Ttl) * time.Second,
		flush: h.Class&flushBit != 0,
	}
	switch rr := rr.(type) {
	case *dns.PTR:
		a.pointed, a.target = rr.Ptr, dns.CanonicalName(rr.Ptr)
		s := serviceOf(a.target, services)
		a.flush = false // the others of a shared name are not over
		return a, s != nil && s.full() == a.name
	case *dns.SRV:
		a.pointed, a.target, a.port = rr.Target, dns.CanonicalName(rr.Target), rr.Port
		return a, serviceOf(a.name, services) != nil
	case *dns.TXT:
		s := serviceOf(a.name, services)
		if s != nil {
			a.text = s.read(rr.Txt)
		}
		return a, s != nil
	case *dns.A:
		return a.withAddress(rr.A)
	case *dns.AAAA:
		return a.withAddress(rr.AAAA)
	}
	return answer{}, false
}

// withAddress returns a with ip, and reports whether that is a unicast address.
func (a answer) withAddress(ip []byte) (answer, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	a.addr = addr.Unmap()
	return a, ok && !a.addr.IsMulticast() && !a.addr.IsUnspecified()
}

// serviceOf returns the one of services that name, canonical, is an instance of, or nil. An
// instance has one label more.
func serviceOf(name string, services []*service) *service {
	for _, s := range services {
		if strings.HasSuffix(name, "."+s.full()) && dns.CountLabel(name) == dns.CountLabel(s.full())+1 {
			return s
		}
	}
	return nil
}

// Sizes of queries, in bytes without the headers of IP and UDP. The rest of a long list of known
// answers is left out: those that it holds are then told once more.
const (
	maxQuery   = 1400
	maxPackets = 8 // of one question
)

// packQuery returns the packets that ask questions and tell of known answers. Answers by multicast
// are wanted: one by unicast could come to another program that listens on the same port.
func packQuery(questions []dns.Question, known []dns.RR) [][]byte {
	var out [][]byte
	emit := func(m *dns.Msg, more bool) {
		m.Truncated = more // more known answers follow (RFC 6762, 7.2)
		if b, err := m.Pack(); err == nil {
			out = append(out, b)
		}
	}
	newMsg := func() *dns.Msg { return &dns.Msg{Compress: true} }
	m, size := newMsg(), 0
	for _, q := range questions {
		if need := len(q.Name) + 6; size+need > maxQuery {
			emit(m, false)
			m, size = newMsg(), 0
		}
		m.Question = append(m.Question, q)
		size += len(q.Name) + 6
	}
	first := len(out)
	for _, rr := range known {
		need := dns.Len(rr) // without compression, so what follows fits
		if size+need > maxQuery {
			if len(out)-first+1 == maxPackets {
				break
			}
			emit(m, true)
			m, size = newMsg(), 0
		}
		m.Answer = append(m.Answer, rr)
		size += need
	}
	emit(m, false)
	return out
}
