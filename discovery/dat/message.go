package dat

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Domains of old peers. An id is asked for as 40 hexadecimal digits before one of them.
const (
	datDomain   = "dat.local"           // dat-swarm-defaults
	plainDomain = "dns-discovery.local" // discovery-swarm without a configuration
)

// Bounds on what a message may say. A longer message is not read further.
const (
	maxMessage   = 4096 // bytes
	maxQuestions = 32
	maxSaid      = 32  // records
	maxPeers     = 100 // in all records; dns-discovery's servers tell of as many
	maxToken     = 200 // bytes; tokens of dns-discovery have 44
	// maxTold is how many peers one string of a TXT record holds in base64.
	maxTold = 31
)

// message is a message of dns-discovery or of its multicast form, which have the format of DNS.
type message struct {
	id        uint16
	response  bool
	questions []string // names, in lower case and without the last dot
	said      []said
}

// said is what one record says.
type said struct {
	name  string // in lower case and without the last dot
	token string
	// host is the address at which a server sees the asker.
	host netip.Addr
	// peers never have port 0. The address 0.0.0.0 is that of the sender.
	peers []netip.AddrPort
}

var errNotMessage = errors.New("not a message of DNS")

// readMessage reads what b says. It leaves out what it does not understand. It reads records by
// itself, because the library takes no message from a server that knows more than [maxTold] peers:
// see readText.
func readMessage(b []byte) (message, error) {
	if len(b) < headerSize || len(b) > maxMessage {
		return message{}, errNotMessage
	}
	const opcodeBits, responseBit = 0xf << 11, 1 << 15
	bits := binary.BigEndian.Uint16(b[2:])
	if bits&opcodeBits != 0 {
		return message{}, errNotMessage
	}
	m := message{id: binary.BigEndian.Uint16(b), response: bits&responseBit != 0}
	at := headerSize
	for range binary.BigEndian.Uint16(b[4:]) {
		name, end, err := dns.UnpackDomainName(b, at)
		if err != nil || len(b)-end < 4 || len(m.questions) == maxQuestions {
			return message{}, errNotMessage
		}
		if binary.BigEndian.Uint16(b[end:]) == dns.TypeTXT {
			m.questions = append(m.questions, plain(name))
		}
		at = end + 4
	}
	left := maxPeers
	for range int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:])) + int(binary.BigEndian.Uint16(b[10:])) {
		name, end, err := dns.UnpackDomainName(b, at)
		if err != nil || len(b)-end < 10 || len(m.said) == maxSaid {
			break
		}
		kind, data := binary.BigEndian.Uint16(b[end:]), end+10
		at = data + int(binary.BigEndian.Uint16(b[end+8:]))
		if at > len(b) {
			break
		}
		s := said{name: plain(name)}
		switch kind {
		case dns.TypeTXT:
			s.readText(b[data:at], left)
		case dns.TypeSRV: // a server tells its subscribers of a peer
			if left > 0 {
				s.readService(b, data, at)
			}
		default:
			continue
		}
		left -= len(s.peers)
		m.said = append(m.said, s)
	}
	return m, nil
}

// headerSize is how many bytes precede the first question.
const headerSize = 12

// plain returns a name of DNS in lower case and without the last dot.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// readText takes in the strings of a TXT record, with at most limit peers. A string has at most 255
// bytes, but old servers also write longer lists of peers, and only the length is wrong then: it is
// the remainder by 256.
func (s *said) readText(data []byte, limit int) {
	for len(data) > 0 {
		n := int(data[0])
		data = data[1:]
		if len(data) > 255 && byte(len(data)) == byte(n) && bytes.HasPrefix(data, []byte("peers=")) {
			n = len(data)
		}
		if n > len(data) {
			return
		}
		key, value, _ := strings.Cut(string(data[:n]), "=")
		data = data[n:]
		switch key {
		case "token":
			if len(value) <= maxToken {
				s.token = value
			}
		case "host":
			if ip, err := netip.ParseAddr(value); err == nil && ip.Is4() {
				s.host = ip
			}
		case "peers":
			s.peers = append(s.peers, readPeers(value, limit-len(s.peers))...)
		}
	}
}

// readService takes in the SRV record whose data is b[from:to]. Its target is an IPv4 address.
func (s *said) readService(b []byte, from, to int) {
	if to-from < 7 {
		return
	}
	port := binary.BigEndian.Uint16(b[from+4:])
	target, end, err := dns.UnpackDomainName(b, from+6)
	if err != nil || end != to || port == 0 {
		return
	}
	if ip, err := netip.ParseAddr(plain(target)); err == nil && ip.Is4() {
		s.peers = []netip.AddrPort{netip.AddrPortFrom(ip, port)}
	}
}

// compact is how many bytes one peer has: its IPv4 address and its port.
const compact = 6

// readPeers returns at most limit peers of a list in base64, without those that have port 0.
func readPeers(list string, limit int) (peers []netip.AddrPort) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(list, "="))
	if err != nil {
		return nil
	}
	for ; len(b) >= compact && len(peers) < limit; b = b[compact:] {
		if port := uint16(b[4])<<8 | uint16(b[5]); port != 0 {
			peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port))
		}
	}
	return peers
}

// writePeers returns the first [maxTold] peers, which are IPv4, as a list in base64.
func writePeers(peers []netip.AddrPort) string {
	var b []byte
	for _, p := range peers[:min(len(peers), maxTold)] {
		ip := p.Addr().As4()
		b = append(b, ip[:]...)
		b = append(b, byte(p.Port()>>8), byte(p.Port()))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// nameOf returns the name under which an id is asked for.
func nameOf(i id, domain string) string { return i.String() + "." + domain }

// idIn returns the id of a name in one of domains.
func idIn(name string, domains ...string) (i id, domain string, ok bool) {
	digits, domain, _ := strings.Cut(name, ".")
	for _, d := range domains {
		if d == domain && len(digits) == hex.EncodedLen(len(i)) {
			_, err := hex.Decode(i[:], []byte(digits))
			return i, domain, err == nil
		}
	}
	return id{}, "", false
}

// question returns a message that asks for names. If fields are given, they are what it says about
// the first name.
func question(number uint16, names []string, fields ...string) ([]byte, error) {
	m := dns.Msg{MsgHdr: dns.MsgHdr{Id: number}}
	for _, name := range names {
		m.Question = append(m.Question, dns.Question{Name: dns.Fqdn(name), Qtype: dns.TypeTXT, Qclass: dns.ClassINET})
	}
	if len(fields) > 0 {
		m.Extra = append(m.Extra, record(names[0], fields))
	}
	return m.Pack()
}

// answer returns a multicast response that says fields about each of names.
func answer(names []string, fields ...string) ([]byte, error) {
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	for _, name := range names {
		m.Answer = append(m.Answer, record(name, fields))
	}
	return m.Pack()
}

// receipt returns the response to a message with this number that told us something.
func receipt(number uint16) ([]byte, error) {
	m := dns.Msg{MsgHdr: dns.MsgHdr{Id: number, Response: true}}
	return m.Pack()
}

func record(name string, fields []string) dns.RR {
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
	for _, f := range fields { // the library reads a backslash as the beginning of an escape
		rr.Txt = append(rr.Txt, strings.ReplaceAll(f, `\`, `\\`))
	}
	return rr
}

// portField returns a field whose value is a port.
func portField(key string, port uint16) string { return key + "=" + strconv.Itoa(int(port)) }

// ourselves returns the peer that is at port of the sender's address.
func ourselves(port uint16) []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
}
