package discovery

import (
	"context"
	"errors"
	"net"
	"testing"

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
		{"refused", t.Context(), SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "connection refused"},
		{"no time", late, SourceConfigured, []string{closed}, wtproto.CodePeerUnreachable, "no answer in time"},
		{"no such name", t.Context(), SourceConfigured, []string{"no such name.invalid:80"}, wtproto.CodePeerUnreachable, "name not resolved"},
		{"nothing", t.Context(), SourceConfigured, nil, wtproto.CodePeerUnreachable, "no address"},
		{"policy", t.Context(), SourcePublic, []string{"127.0.0.1:80"}, wtproto.CodeForbidden, "127.0.0.1:80 is in 127.0.0.0/8, which is not public"},
		{"policy, last of two", t.Context(), SourcePublic, []string{"10.0.0.1:80", "[::1]:80"}, wtproto.CodeForbidden, "[::1]:80 is in ::/0, which is not public"},
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
