// Package wtproto is the wire of swarmgate: topics, frames and codes, as docs/PROTOCOL.md
// describes them.
//
// A frame is a type varint, a length varint and a payload of at most [MaxPayload] bytes. Every
// message is a plain struct: Append adds its whole frame to a caller's buffer, and the Parse
// function of its name reads a payload that [Reader.Next] returned. A message read from a payload
// owns its memory, unless its comment says otherwise.
//
// Append cuts text that is longer than its limit and repairs invalid UTF-8, so a reason may be
// made from any error. The caller keeps the other limits. A number above 2^62-1 panics: no varint
// holds it. Parse ignores what follows the last field that it knows. Each of its errors is an
// [*Error] with Remote false and the code for the sender of the frame.
//
// The package does no I/O of its own but [Reader.Next], starts no goroutine, and holds no state
// between calls. The callers know which frame may come when.
package wtproto
