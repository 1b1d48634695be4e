package mdns

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/grandcat/zeroconf"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func addrsOf(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestNewRecord(t *testing.T) {
	topic := wtproto.TopicFromName("a").String()
	v4, v6 := []net.IP{net.ParseIP("10.0.0.1")}, []net.IP{net.ParseIP("fe80::1"), {1, 2, 3}}
	both := addrsOf("10.0.0.1", "fe80::1")
	entry := func(instance string, port int, text ...string) *zeroconf.ServiceEntry {
		e := zeroconf.NewServiceEntry(instance, topicService.name, domain)
		e.Port, e.Text, e.AddrIPv4, e.AddrIPv6 = port, text, v4, v6
		return e
	}
	for _, tc := range []struct {
		name    string
		service *service
		in      *zeroconf.ServiceEntry
		want    record
		ok      bool
	}{
		{"topic", topicService, entry("web", 80, "topic="+topic), record{topicService, "web", topic, 80, both}, true},
		{"topic in upper case", topicService, entry("web", 80, "x", "TOPIC="+strings.ToUpper(topic)), record{topicService, "web", topic, 80, both}, true},
		{"the first topic counts", topicService, entry("web", 80, "topic="+topic, "topic=x"), record{topicService, "web", topic, 80, both}, true},
		{"short topic", topicService, entry("web", 80, "topic="+topic[1:]), record{}, false},
		{"no topic", topicService, entry("web", 80, "id=x"), record{topicService, "web", "", 80, both}, true},
		{"id", hostService, entry("web", 80, "id=12D3Koo"), record{hostService, "web", "12D3Koo", 80, both}, true},
		{"id with odd bytes", hostService, entry("web", 80, `id=a\"b`), record{}, false},
		{"escaped name", topicService, entry(`my\ we\.b\\\046`, 80, "topic="+topic), record{topicService, `my\ we\.b\\\046`, topic, 80, both}, true},
		{"another type", topicService, entry("web._http._tcp", 80, "topic="+topic), record{}, false},
		{"no name", topicService, entry("", 80, "topic="+topic), record{}, false},
		{"long name", topicService, entry(strings.Repeat("x", 253), 80, "topic="+topic), record{}, false},
		{"no port", topicService, entry("web", 0, "topic="+topic), record{}, false},
		{"no address", topicService, &zeroconf.ServiceEntry{ServiceRecord: *zeroconf.NewServiceRecord("web", "x", "y"), Port: 80}, record{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := tc.service.newRecord(tc.in)
			if ok != tc.ok || ok && (got.of != tc.want.of || got.instance != tc.want.instance || got.value != tc.want.value ||
				got.port != tc.want.port || !slices.Equal(got.addrs, tc.want.addrs)) {
				t.Errorf("newRecord = %+v, %v, want %+v, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
	many := entry("web", 80, "topic="+topic)
	many.AddrIPv4, many.AddrIPv6 = slices.Repeat(v4, 5000), slices.Repeat(v6[:1], 5000)
	if got, ok := topicService.newRecord(many); !ok || len(got.addrs) != 2*maxAddrs || got.addrs[maxAddrs] != both[1] {
		t.Errorf("of 10000 addresses %d were read: %v", len(got.addrs), got.addrs)
	}
}

// A link-local address comes without a zone: each interface of the LAN may be the one.
func TestRecordPlaces(t *testing.T) {
	policy, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true, LANInterfaces: []string{"lo"}})
	if err != nil {
		t.Fatal(err)
	}
	lo, other := discovery.Interface{}, discovery.Interface{}
	lo.Name, other.Name = "lo", "other0"
	r := record{port: 80, addrs: addrsOf("fe80::1", "10.0.0.1", "8.8.8.8", "10.0.0.1", "fd00:ec2::254")}
	allowed, refused := r.places(policy, []discovery.Interface{lo, other})
	if want := addrsOf("fe80::1%lo", "10.0.0.1"); !slices.Equal(allowed, want) || refused == nil {
		t.Errorf("places = %v, %v, want %v and a refusal", allowed, refused, want)
	}
}
