package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestTCPDialerErrors(t *testing.T) {
	closed := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		src    Source
		addrs  []string
		code   wtproto.Code
		reason string
	}{
		{"refused", t.Context(), SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "connection refused: check that the service runs, and listens on this port of an address that others reach"},
		{"no time", late, SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "no answer in time: check that the machine is there, and that no firewall drops what is sent to this port"},
		{"no such name", t.Context(), SourceConfigured, []string{"no such name.invalid:80"}, wtproto.CodePeerUnreachable, "name not resolved: check it, and that the gateway's resolver knows it"},
		{"nothing", t.Context(), SourceConfigured, nil, wtproto.CodePeerUnreachable, "no address: the name has none, so check it"},
		{"policy", t.Context(), SourcePublic, []string{"127.0.0.1:80"}, wtproto.CodeForbidden, "127.0.0.1:80 is in 127.0.0.0/8, which is not public: allow it with --dial-allow if it is yours"},
		{"policy, last of two", t.Context(), SourcePublic, []string{"10.0.0.1:80", "[::1]:80"}, wtproto.CodeForbidden, "[::1]:80 is in ::/0, which is not public: allow it with --dial-allow if it is yours"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewTCPDialer(testPolicy(t, PolicyConfig{}), tc.src).Dial(tc.ctx, tc.addrs...)
			wantCode(t, "Dial", err, tc.code, false)
			if e, ok := errors.AsType[*wtproto.Error](err); ok && e.Reason != tc.reason {
				t.Errorf("reason = %q, want %q", e.Reason, tc.reason)
			}
		})
	}
}

// resolvesTo has d resolve every name to ips.
func (d *TCPDialer) resolvesTo(ips ...string) *TCPDialer {
	d.lookUp = func(context.Context, string, string) (list []netip.Addr, _ error) {
		for _, ip := range ips {
			list = append(list, netip.MustParseAddr(ip))
		}
		return list, nil
	}
	return d
}

// A name may have several addresses: the policy is asked about each, and those that it refuses
// keep nobody from the others.
func TestTCPDialerNames(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	policy := testPolicy(t, PolicyConfig{})
	s, err := NewTCPDialer(policy, SourceConfigured).resolvesTo("169.254.169.254", "127.0.0.2", "127.0.0.1").Dial(t.Context(), "peer.example:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if at := s.(Located).Remote(); at.String() != ln.Addr().String() {
		t.Errorf("connected to %v, want %v", at, ln.Addr())
	}
	if _, err := NewTCPDialer(policy, SourceConfigured).resolvesTo("169.254.169.254", "224.0.0.1").Dial(t.Context(), "peer.example:"+port); err == nil {
		t.Error("a metadata service was dialed")
	} else {
		wantCode(t, "Dial", err, wtproto.CodeForbidden, false)
	}
}

// A successful dial refunds the tried addresses that answered too, or that are of the same
// machine, and no others. Else a peer could have a third party dialed without a limit, by adding
// addresses of the third party to its own.
func TestTCPDialerRefunds(t *testing.T) {
	addrs := addrPorts("198.51.100.1:1", "198.51.100.2:1", "198.51.100.3:1", "198.51.100.1:2", "198.51.100.4:1")
	policy := testPolicy(t, PolicyConfig{})
	d := NewTCPDialer(policy, SourcePublic)
	tries := []try{{spent: true}, {spent: true}, {spent: true, answered: true}, {spent: true}, {}}
	for i, a := range addrs {
		if tries[i].spent {
			if err := policy.Spend(nil, SourcePublic, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.refund(addrs, tries, 0)
	for i, want := range []int{0, 1, 0, 0, 0} {
		n := 0
		if v := policy.targets.each[targetOf(addrs[i].Addr(), false)]; v != nil {
			n = v.n
		}
		if n != want {
			t.Errorf("%v: %d failed dials, want %d", addrs[i], n, want)
		}
	}
}

// A static peer that is this gateway by its public name, behind a NAT, gave clients the gateway's
// own ports.
func TestTCPDialerOwnName(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := ln.Addr().(*net.TCPAddr).AddrPort()
	for _, name := range []string{"gateway.example", "127.0.0.1"} {
		policy := testPolicy(t, PolicyConfig{})
		asked := 0
		policy.names.lookUp = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if asked++; host != "gateway.example" || asked > 1 {
				return nil, errors.New("no answer")
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		}
		policy.AddOwnName(name, own.Port())
		d := NewTCPDialer(policy, SourceConfigured).resolvesTo("127.0.0.1")
		dial := func(addr string) error {
			s, err := d.Dial(t.Context(), addr)
			if err == nil {
				s.Close()
			}
			return err
		}
		for _, addr := range []string{own.String(), "alias.example:" + strconv.Itoa(int(own.Port()))} {
			wantCode(t, name+": "+addr, dial(addr), wtproto.CodeForbidden, false)
		}
		policy.names.until = time.Time{} // a minute later, without an answer
		wantCode(t, name+": later", dial(own.String()), wtproto.CodeForbidden, false)
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := dial(other.Addr().String()); err != nil {
			t.Errorf("%s: another port: %v", name, err)
		}
	}
}
