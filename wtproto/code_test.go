package wtproto

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestCodeString(t *testing.T) {
	codes := []Code{
		CodeNone, CodeInternal, CodeProtocol, CodeTooLarge, CodeVersion, CodeUnauthorized, CodeForbidden, CodeTopicLimit,
		CodeCircuitLimit, CodeRateLimited, CodeBusy, CodeIdle, CodeShutdown, CodePeerGone, CodePeerUnreachable, CodePeerReset,
		CodeDeclined, CodeWithdrawn, CodeLeft, CodeTokenExpired, CodeStalled, CodeReplaced,
	}
	if len(codes) != len(codeNames) {
		t.Errorf("%d codes have names, want %d", len(codeNames), len(codes))
	}
	for i, c := range codes {
		if int(c) != i {
			t.Errorf("%v is %d, want %d", c, c, i)
		}
	}
	for c, want := range map[Code]string{
		CodeNone: "NONE", CodeProtocol: "PROTOCOL", CodePeerUnreachable: "PEER_UNREACHABLE", CodeReplaced: "REPLACED",
		CodeReplaced + 1: "0x16", CodeApplication: "0x100", 1<<32 - 1: "0xffffffff",
	} {
		if got := c.String(); got != want {
			t.Errorf("Code(%d).String() = %q, want %q", uint32(c), got, want)
		}
		if b, err := c.MarshalText(); string(b) != want || err != nil {
			t.Errorf("Code(%d).MarshalText() = %q, %v, want %q", uint32(c), b, err, want)
		}
	}
}

// The bits of flags are those of docs/PROTOCOL.md.
func TestFlags(t *testing.T) {
	for _, test := range []struct {
		name      string
		got, want uint64
	}{
		{"JoinAnnounce", uint64(JoinAnnounce), 1},
		{"JoinLookUp", uint64(JoinLookUp), 2},
		{"JoinOfferOnly", uint64(JoinOfferOnly), 4},
		{"PeerInitiator", uint64(PeerInitiator), 1},
		{"PeerClient", uint64(PeerClient), 2},
		{"EndpointsMore", uint64(EndpointsMore), 1},
		{"EndpointsNeed", uint64(EndpointsNeed), 2},
		{"MeetGuessed", uint64(MeetGuessed), 1},
		{"HostGateway", uint64(HostGateway), 1},
	} {
		if test.got != test.want {
			t.Errorf("%s is %d, want %d", test.name, test.got, test.want)
		}
	}
}

func TestNetworkStateString(t *testing.T) {
	for s, want := range map[NetworkState]string{
		NetworkStarting: "starting", NetworkSearching: "searching", NetworkFailing: "failing", NetworkEnded: "ended", NetworkQueued: "queued", 5: "unknown",
	} {
		if got, err := s.MarshalText(); string(got) != want || err != nil {
			t.Errorf("NetworkState(%d).MarshalText() = %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		err  *Error
		want string
	}{
		{&Error{Code: CodeBusy}, "BUSY"},
		{&Error{Code: CodeBusy, Remote: true}, "BUSY (remote)"},
		{Errorf(CodeBusy, "%d queued", 3), "BUSY: 3 queued"},
		{&Error{Code: CodePeerGone, Remote: true, Reason: "gone", Err: io.EOF}, "PEER_GONE (remote): gone: EOF"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q, want %q", got, test.want)
		}
	}
}

func TestErrorIs(t *testing.T) {
	err := fmt.Errorf("step: %w", &Error{Code: CodeBusy, Remote: true, Reason: "why", Err: io.ErrClosedPipe})
	for _, test := range []struct {
		name   string
		target error
		want   bool
	}{
		{"same code and side", &Error{Code: CodeBusy, Remote: true}, true},
		{"other side", &Error{Code: CodeBusy}, false},
		{"other code", &Error{Code: CodeIdle, Remote: true}, false},
		{"cause", io.ErrClosedPipe, true},
		{"something else", io.EOF, false},
	} {
		if got := errors.Is(err, test.target); got != test.want {
			t.Errorf("%s: errors.Is = %v, want %v", test.name, got, test.want)
		}
	}
}
