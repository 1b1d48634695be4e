package wtproto

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The words of signals. The first two begin a WebSocket.
const (
	SignalSession = "session" // KEY
	SignalStream  = "stream"  // KEY
	SignalFin     = "fin"
	SignalReset   = "reset"  // CODE
	SignalStop    = "stop"   // CODE
	SignalWindow  = "window" // BYTES
)

const (
	// MaxSignal is how many bytes a signal has at most.
	MaxSignal = 256
	// MaxBinary is how many bytes a binary message of a WebSocket has at most.
	MaxBinary = 64 << 10
)

// Signal is a text message of a WebSocket (docs/PROTOCOL.md, WebSocket): a word and its argument.
// The zero value is one that is not known, which receivers ignore.
type Signal struct {
	Word   string
	Key    string // of session and stream: 16 bytes in hexadecimal digits
	Number uint64 // of reset, stop and window
}

// ParseSignal reads a signal. The error is an [*Error] with CodeProtocol.
func ParseSignal(b []byte) (Signal, error) {
	if !utf8.Valid(b) {
		return Signal{}, Errorf(CodeProtocol, "a signal is not UTF-8")
	}
	word, arg, has := strings.Cut(string(b), " ")
	s := Signal{Word: word}
	ok := true
	switch word {
	case SignalSession, SignalStream:
		s.Key, ok = arg, isSignalKey(arg)
	case SignalFin:
		ok = !has
	case SignalReset, SignalStop:
		s.Number, ok = decimal(arg, math.MaxUint32)
	case SignalWindow:
		s.Number, ok = decimal(arg, 1<<62-1)
	default:
		return Signal{}, nil
	}
	if !ok {
		return Signal{}, Errorf(CodeProtocol, "malformed signal %.64q", b)
	}
	return s, nil
}

// String returns the signal as it is sent.
func (s Signal) String() string {
	switch s.Word {
	case SignalSession, SignalStream:
		return s.Word + " " + s.Key
	case SignalReset, SignalStop, SignalWindow:
		return s.Word + " " + strconv.FormatUint(s.Number, 10)
	}
	return s.Word
}

// isSignalKey reports whether s names a session: 16 bytes in hex.
func isSignalKey(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// decimal reads a number of 1 to 20 digits, and at most limit.
func decimal(s string, limit uint64) (uint64, bool) {
	if s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= limit
}
