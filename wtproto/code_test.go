package wtproto

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestCodeString(t *testing.T) {
	for c, want := range map[Code]string{
		CodeNone: "NONE", CodeProtocol: "PROTOCOL", CodeReplaced: "REPLACED",
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

func TestNetworkStateString(t *testing.T) {
	for s, want := range map[NetworkState]string{
		NetworkStarting: "starting", NetworkSearching: "searching", NetworkFailing: "failing", NetworkEnded: "ended", 4: "unknown",
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
