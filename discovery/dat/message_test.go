package dat

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const testName = "0102030405060708090a0b0c0d0e0f1011121314.dat.local"

func addrPorts(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestMessages(t *testing.T) {
	pack := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	push := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 9}, Extra: []dns.RR{
		&dns.SRV{Hdr: dns.RR_Header{Name: testName + ".", Rrtype: dns.TypeSRV, Class: dns.ClassINET}, Target: "192.0.2.1.", Port: 3282},
		&dns.SRV{Hdr: dns.RR_Header{Name: testName + ".", Rrtype: dns.TypeSRV, Class: dns.ClassINET}, Target: "example.org.", Port: 3282},
		&dns.SRV{Hdr: dns.RR_Header{Name: testName + ".", Rrtype: dns.TypeSRV, Class: dns.ClassINET}, Target: "192.0.2.2."},
	}}
	peers := addrPorts("192.0.2.1:3282", "0.0.0.0:1")
	for _, tc := range []struct {
		name string
		in   []byte
		want message
	}{
		{"probe", pack(question(7, []string{"dat.local"})), message{id: 7, questions: []string{"dat.local"}}},
		{
			"announcement",
			pack(question(8, []string{testName}, "subscribe=true", `token=a+/\"=`, "announce=3282")),
			message{id: 8, questions: []string{testName}, said: []said{{name: testName, token: `a+/\"=`}}},
		},
		{
			"answer",
			pack(answer([]string{testName}, "token=t", "peers="+writePeers(peers))),
			message{response: true, said: []said{{name: testName, token: "t", peers: peers}}},
		},
		{
			"port 0 is no peer",
			pack(answer([]string{testName}, "peers="+writePeers(addrPorts("192.0.2.1:0", "192.0.2.1:2", "192.0.2.3:0")))),
			message{response: true, said: []said{{name: testName, peers: addrPorts("192.0.2.1:2")}}},
		},
		{
			"state",
			pack(answer([]string{"DAT.local"}, "token=t", "host=192.0.2.9", "port=1", "host=::1", "token="+strings.Repeat("x", maxToken+1))),
			message{response: true, said: []said{{name: "dat.local", token: "t", host: netip.MustParseAddr("192.0.2.9")}}},
		},
		{"not base64", pack(answer([]string{testName}, "peers=%%%", "peers")), message{response: true, said: []said{{name: testName}}}},
		{"push", pack(push.Pack()), message{id: 9, said: []said{
			{name: testName, peers: addrPorts("192.0.2.1:3282")}, {name: testName}, {name: testName},
		}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := readMessage(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			var library dns.Msg // the library reads it too
			if err := library.Unpack(tc.in); err != nil {
				t.Error(err)
			}
		})
	}
	for name, in := range map[string][]byte{
		"nothing": nil, "half a header": make([]byte, headerSize-1), "too long": make([]byte, maxMessage+1),
		"another operation":            append([]byte{0, 1, 0x28}, make([]byte, 20)...),
		"a question that is not there": {0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
	} {
		if got, err := readMessage(in); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func equal(a, b message) bool {
	return a.id == b.id && a.response == b.response && slices.Equal(a.questions, b.questions) &&
		slices.EqualFunc(a.said, b.said, func(a, b said) bool {
			return a.name == b.name && a.token == b.token && a.host == b.host && slices.Equal(a.peers, b.peers)
		})
}

// dns-discovery writes a list of more than 31 peers into one string with one byte for its length, so
// that no library, not even its own, could read what it said of a popular archive. What it meant can
// be told from the record's length.
func TestLongListOfPeers(t *testing.T) {
	const n = 90
	var list []byte
	for i := range n {
		list = append(list, 10, 0, 0, byte(i), 1, 1)
	}
	text := "peers=" + base64.StdEncoding.EncodeToString(list)
	data := append([]byte("\x07token=t"), byte(len(text)%256))
	data = append(data, text...)
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{&dns.RFC3597{
		Hdr:   dns.RR_Header{Name: testName + ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
		Rdata: hexOf(data),
	}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if new(dns.Msg).Unpack(b) == nil {
		t.Log("the library could have read it")
	}
	got, err := readMessage(b)
	if err != nil || len(got.said) != 1 || got.said[0].token != "t" || len(got.said[0].peers) != n {
		t.Errorf("%+v, %v, want %d peers", got, err, n)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// A hostile message says as much as it has room for.
func TestMessageIsBounded(t *testing.T) {
	var m dns.Msg
	m.Response = true
	var many []netip.AddrPort
	for i := range maxTold {
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1))
	}
	for range 40 {
		m.Question = append(m.Question, dns.Question{Name: testName + ".", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	}
	for range 14 {
		m.Answer = append(m.Answer, record(testName, []string{"peers=" + writePeers(many)}))
	}
	m.Compress = true
	b, err := m.Pack()
	if err != nil || len(b) > maxMessage {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	got, err := readMessage(b)
	n := 0
	for _, s := range got.said {
		n += len(s.peers)
	}
	if err != nil || n != maxPeers {
		t.Errorf("%d peers, %v, want %d", n, err, maxPeers)
	}
}

func TestIDIn(t *testing.T) {
	want := id{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	for name, ok := range map[string]bool{
		testName: true, nameOf(want, plainDomain): true,
		"dat.local": false, "x." + testName: false, testName[1:]: false, testName + ".": false, nameOf(want, "example.org"): false,
		strings.Repeat("zz", 20) + ".dat.local": false, strings.Repeat("00", 2000) + ".dat.local": false,
	} {
		if got, _, is := idIn(name, datDomain, plainDomain); is != ok || ok && got != want {
			t.Errorf("%s: %v %v, want %v", name, got, is, ok)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, b := range [][]byte{nil, make([]byte, headerSize)} {
		f.Add(b)
	}
	for _, fields := range [][]string{nil, {"token=t", "peers=" + writePeers(addrPorts("192.0.2.1:1"))}} {
		b, err := question(1, []string{testName}, fields...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		b, err = answer([]string{testName}, fields...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(b)
		if err != nil {
			return
		}
		n := 0
		for _, s := range m.said {
			n += len(s.peers)
			for _, p := range s.peers {
				if p.Port() == 0 || !p.Addr().Is4() {
					t.Errorf("the peer %s", p)
				}
			}
		}
		if n > maxPeers || len(m.said) > maxSaid || len(m.questions) > maxQuestions {
			t.Errorf("%d peers in %d records, %d questions", n, len(m.said), len(m.questions))
		}
	})
}
