package discovery

import "net/netip"

// special4 are the ranges of the IANA IPv4 Special-Purpose Address Registry, also those that are
// reachable from everywhere (no peer lives on an anycast address of a protocol), and multicast.
var special4 = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private use
	"100.64.0.0/10",   // shared address space
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local
	"172.16.0.0/12",   // private use
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.31.196.0/24", // AS112
	"192.52.193.0/24", // AMT
	"192.88.99.0/24",  // 6to4 relay anycast
	"192.168.0.0/16",  // private use
	"192.175.48.0/24", // AS112
	"198.18.0.0/15",   // benchmarking
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved
)

// global6 is all of IPv6 that is global unicast today, and special6 are the ranges of the IANA
// IPv6 Special-Purpose Address Registry within it.
var (
	global6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes(
		"2001::/23",         // protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID and others
		"2001:db8::/32",     // documentation
		"2002::/16",         // 6to4: an IPv4 address in disguise
		"2620:4f:8000::/48", // AS112
		"3fff::/20",         // documentation
	)
)

// notGlobal6 stands for what [global6] leaves out.
var notGlobal6 = netip.MustParsePrefix("::/0")

// privateRanges are what PolicyConfig.Private allows. IPv6 link-local is not among them: it needs
// an interface.
var privateRanges = prefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", // private use
	"100.64.0.0/10",          // shared address space
	"169.254.0.0/16",         // link-local
	"127.0.0.0/8", "::1/128", // loopback
)

// metadata are the addresses at which clouds give credentials and configuration to any program of
// the machine.
var metadata = addresses(
	"169.254.169.254",    // most clouds
	"169.254.170.2",      // AWS: containers
	"169.254.170.23",     // AWS: pods
	"169.254.169.253",    // AWS: the resolver
	"169.254.0.23",       // Tencent
	"169.254.42.42",      // Scaleway
	"100.100.100.200",    // Alibaba
	"168.63.129.16",      // Azure: the host
	"192.0.0.192",        // Oracle
	"fd00:ec2::254",      // AWS
	"fd00:ec2::23",       // AWS: pods
	"fd00:ec2::253",      // AWS: the resolver
	"fd20:ce::254",       // Google
	"fd00:42::42",        // Scaleway
	"fd00:c1::a9fe:a9fe", // Oracle
	"fe80::a9fe:a9fe",    // OpenStack
)

// nat64 is the well-known prefix whose addresses end with the IPv4 address that a translator
// connects to.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// specialRange returns the range that makes ip, which is unmapped, not public.
func specialRange(ip netip.Addr) (netip.Prefix, bool) {
	special := special6
	if ip.Is4() {
		special = special4
	} else if !global6.Contains(ip) {
		return notGlobal6, true
	}
	for _, r := range special {
		if r.Contains(ip) {
			return r, true
		}
	}
	return netip.Prefix{}, false
}

// isMetadata reports whether ip, unmapped and without zone, is a metadata service, directly or
// through NAT64.
func isMetadata(ip netip.Addr) bool {
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	_, ok := metadata[ip]
	return ok
}

// notUnicast reports whether no single machine can have ip, which is unmapped. A connection to an
// unspecified address reaches this machine.
func notUnicast(ip netip.Addr) bool {
	return ip.IsMulticast() || ip.IsUnspecified() || ip.Is4() && (ip.As4()[0] == 0 || ip == broadcast4)
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func addresses(list ...string) map[netip.Addr]struct{} {
	out := make(map[netip.Addr]struct{}, len(list))
	for _, s := range list {
		out[netip.MustParseAddr(s)] = struct{}{}
	}
	return out
}
