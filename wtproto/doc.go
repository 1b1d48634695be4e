// Package wtproto is the wire of swarmgate: topics, frames and codes, as docs/PROTOCOL.md describes them.
//
// A frame is a type varint, a length varint and a payload of at most [MaxPayload] bytes. Every message is a plain struct:
// Append adds its whole frame to a caller's buffer, and the Parse function of its name reads a payload that
// [Reader.Next] returned. A message read from a payload owns its memory, except where its comment says otherwise.
//
// Append cuts text that is longer than its limit and repairs what is not UTF-8, so that a reason made from somebody's
// error does no harm. The other limits are the caller's to keep, and a number above 2^62-1 panics: no varint holds it.
// Parse ignores what follows the last field that it knows. Its errors are each an [*Error] of this side with the code
// that the sender of the frame has earned.
//
// The package does no I/O of its own but [Reader.Next], starts no goroutine, and holds no state between calls.
// Which frame may come when is for the callers to know.
package wtproto
