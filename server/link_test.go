package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Both kinds of links report the same end with the same error: a reset by the client has its code,
// the loss of its connection is PEER_GONE, both with Remote. Our own resets, an end of the stream
// and a deadline stay as they are.
func TestStreamErrors(t *testing.T) {
	type kind struct {
		name    string
		convert func(error) error
	}
	all := []kind{{"quic", (&quicStream{}).convert}, {"webtransport", (&webTransportStream{}).convert}, {"own", (&ownStream{}).convert}}
	const as = wtproto.Code(1 << 31) // stays what it is
	for _, test := range []struct {
		name  string
		kinds []kind
		err   error
		want  wtproto.Code
	}{
		{"nil", all, nil, as},
		{"the end", all, io.EOF, as},
		{"a deadline", all, os.ErrDeadlineExceeded, as},
		{"a reset", all[:1], &quic.StreamError{ErrorCode: 0x10, Remote: true}, wtproto.CodeDeclined},
		{"a reset with an application's code", all[:1], &quic.StreamError{ErrorCode: 1<<32 - 1, Remote: true}, 1<<32 - 1},
		{"a reset without a code", all[:1], &quic.StreamError{Remote: true}, wtproto.CodePeerReset},
		{"a reset with a code too large", all[:1], &quic.StreamError{ErrorCode: 1 << 32, Remote: true}, wtproto.CodePeerReset},
		{"our reset", all[:1], &quic.StreamError{ErrorCode: 0x10}, as},
		{"a reset", all[1:2], &webtransport.StreamError{ErrorCode: 0x10, Remote: true}, wtproto.CodeDeclined},
		{"a reset with an application's code", all[1:2], &webtransport.StreamError{ErrorCode: 1<<32 - 1, Remote: true}, 1<<32 - 1},
		{"a reset without a code", all[1:2], &webtransport.StreamError{Remote: true}, wtproto.CodePeerReset},
		{"our reset", all[1:2], &webtransport.StreamError{ErrorCode: 0x10}, as},
		{"a stop", all[1:], &quic.StreamError{ErrorCode: 0x52e4a40fa8db + 0x10, Remote: true}, wtproto.CodeDeclined},
		{"a stop with an application's code", all[1:], &quic.StreamError{ErrorCode: 0x52e5ac983162, Remote: true}, 1<<32 - 1},
		{"a stop without a code", all[1:], &quic.StreamError{ErrorCode: 0x52e4a40fa8db, Remote: true}, wtproto.CodePeerReset},
		{"a stop with a code above all", all[1:], &quic.StreamError{ErrorCode: 0x52e5ac983163, Remote: true}, wtproto.CodePeerReset},
		{"a stop with a reserved code", all[1:], &quic.StreamError{ErrorCode: 0x52e4a40fa8f9, Remote: true}, wtproto.CodePeerReset},
		{"our stop", all[1:], &quic.StreamError{ErrorCode: 0x52e4a40fa8db}, as},
		{"a reset by a page that was reloaded", all[1:], &quic.StreamError{ErrorCode: 0x10c, Remote: true}, wtproto.CodePeerReset},
		{"a closed session", all[1:2], &webtransport.SessionError{Remote: true}, wtproto.CodePeerGone},
		{"an HTTP/3 error", all[1:2], &http3.Error{ErrorCode: http3.ErrCodeNoError}, wtproto.CodePeerGone},
		{"a closed connection", all, &quic.ApplicationError{Remote: true}, wtproto.CodePeerGone},
		{"our close of the connection", all, &quic.ApplicationError{}, wtproto.CodePeerGone},
		{"a broken connection", all, &quic.TransportError{}, wtproto.CodePeerGone},
		{"a silent connection", all, &quic.IdleTimeoutError{}, wtproto.CodePeerGone},
		{"an unfinished handshake", all, &quic.HandshakeTimeoutError{}, wtproto.CodePeerGone},
		{"a stateless reset", all, &quic.StatelessResetError{}, wtproto.CodePeerGone},
	} {
		for _, k := range test.kinds {
			t.Run(k.name+"/"+test.name, func(t *testing.T) {
				err := test.err
				if err != nil && !errors.Is(err, io.EOF) {
					err = fmt.Errorf("wrapped: %w", err)
				}
				got := k.convert(err)
				if test.want == as {
					if got != err {
						t.Errorf("%v became %v, want what it was", err, got)
					}
					return
				}
				if e, ok := errors.AsType[*wtproto.Error](got); !ok || e.Code != test.want || !e.Remote || !errors.Is(got, test.err) {
					t.Errorf("%v became %#v, want remote %v with the cause", err, got, test.want)
				}
				if peerLost(got) {
					t.Errorf("%v counts as the loss of a peer", got)
				}
			})
		}
	}
}

func TestCodeOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want wtproto.Code
		lost bool
	}{
		{nil, wtproto.CodeNone, false},
		{io.EOF, wtproto.CodeInternal, false},
		{wtproto.Errorf(wtproto.CodeBusy, "no room"), wtproto.CodeBusy, false},
		{fmt.Errorf("dial: %w", &wtproto.Error{Code: wtproto.CodeForbidden, Remote: true}), wtproto.CodeForbidden, false},
		{&wtproto.Error{Code: wtproto.CodePeerGone}, wtproto.CodePeerGone, true},
		{fmt.Errorf("read: %w", &wtproto.Error{Code: wtproto.CodePeerGone}), wtproto.CodePeerGone, true},
		{&wtproto.Error{Code: wtproto.CodePeerGone, Remote: true}, wtproto.CodePeerGone, false},
	} {
		if got := codeOf(test.err); got != test.want {
			t.Errorf("codeOf(%v) = %v, want %v", test.err, got, test.want)
		}
		if got := peerLost(test.err); got != test.lost {
			t.Errorf("peerLost(%v) = %v, want %v", test.err, got, test.lost)
		}
		if got := asError(test.err); test.err != nil && got.Code != test.want {
			t.Errorf("asError(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}
