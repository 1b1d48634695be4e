// Package wtproto is the wire of swarmgate: topics, frames and codes, as docs/PROTOCOL.md describes them.
//
// A frame is a type varint, a length varint and a payload of at most [MaxPayload] bytes. Every message is a plain struct:
// Append adds its whole frame to a caller's buffer, and the Parse function of its name reads a payload that
// [Reader.Next] returned. A message read from a payload owns its memory, except where its comment says otherwise.
//
// The package does no I/O of its own but [Reader.Next], starts no goroutine, and holds no state between calls.
// Which frame may come when is for the callers to know.
package wtproto
