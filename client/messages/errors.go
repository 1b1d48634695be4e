package messages

import (
	"errors"
	"fmt"
)

// ErrMalformed says that a text is not UTF-8, or that a JSON value is not JSON. Nothing that
// follows can be trusted, so every later Receive returns the same error.
var ErrMalformed = errors.New("messages: malformed message")

// SizeError says that a message is larger than [Config.MaxSize]. [Conn.Send] returns it before it
// writes anything. [Conn.Receive] returns it before it reads the message, and then always. It
// also means that the peer speaks something else, such as HTTP.
type SizeError struct {
	Size int64 // of the message, in bytes
	Max  int64 // [Config.MaxSize]
}

// Error returns both sizes.
func (e *SizeError) Error() string {
	return fmt.Sprintf("messages: a message of %d bytes, at most %d are allowed", e.Size, e.Max)
}

// PartError says that a message was sent in part only, because writing failed or its context
// ended. Every later Send returns it too: the peer would take what follows for the rest of that
// message.
type PartError struct {
	Err error // why
}

// Error says why.
func (e *PartError) Error() string {
	return "messages: a message was sent in part: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *PartError) Unwrap() error { return e.Err }
