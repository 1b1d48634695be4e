package wtproto

import "fmt"

// ALPN is the TLS application protocol of raw QUIC sessions and the WebTransport subprotocol; it
// names the family, HELLO and WELCOME choose the version.
const ALPN = "swarmgate"

// PacketSize is the size in bytes of the largest UDP payload that a gateway and the Go client send
// before they know that the path carries more: 1,200, which every path has to carry over which QUIC
// works (docs/PROTOCOL.md, 2).
const PacketSize = 1200

// Path is the path of WebTransport sessions.
const Path = "/swarm"

// Version is the highest version of the protocol that this package speaks. There is no version 0.
const Version = 1

// Limits of the protocol in bytes; what is longer is CodeTooLarge.
const (
	MaxPayload = 16 << 10 // of any frame
	MaxToken   = 8 << 10  // HELLO's token
	MaxAgent   = 256      // an agent string
	MaxReason  = 1024     // a reason
	MaxNetwork = 64       // a network's name
	MaxPeerID  = 128      // a peer id
	MaxAddress = 512      // an address

	MaxNetworkReason = 256 // a reason in STATUS
)

// Limits of the protocol in elements.
const (
	MaxHashes    = 8    // certificate hashes in WELCOME
	MaxNetworks  = 16   // networks in JOIN and STATUS
	MaxEndpoints = 64   // endpoints in MEET, MET and ENDPOINTS
	MaxTags      = 1024 // tags in GUESS
)

// MinCredit is the least credit that HELLO may ask for, in bytes.
const MinCredit = 4 << 10

// Type says what a frame is. A receiver skips types that it does not know.
type Type uint64

// Frames between a client and a gateway, and, from TypeMeet on, between two hosts. The comment is
// the layout of the payload: i is a varint, a number is that many bytes, b is a varint length and
// the bytes.
const (
	TypeHello    Type = 0x01 // version i, flags i, credit i, secret 16, token b, agent b
	TypeWelcome  Type = 0x02 // version i, session 16, max topics i, max circuits i, hashes i × 32, agent b
	TypeJoin     Type = 0x03 // topic 32, flags i, max peers i, networks i × b
	TypeJoined   Type = 0x04 // topic 32
	TypeLeave    Type = 0x05 // topic 32
	TypeLeft     Type = 0x06 // topic 32, code i, reason b
	TypeStatus   Type = 0x07 // topic 32, flags i, known i, connected i, networks i × (name b, state i, found i, connecting i, refused i, code i)
	TypePeer     Type = 0x08 // circuit i, topic 32, flags i, network b, peer id b, address b
	TypeAccept   Type = 0x09 // circuit i
	TypeDecline  Type = 0x0a // circuit i, code i
	TypeWithdraw Type = 0x0b // circuit i, code i
	TypeCredit   Type = 0x0c // circuit i, offset i
	TypeGoaway   Type = 0x0d // code i, retry after ms i, reason b
	TypePing     Type = 0x0e // data 8
	TypePong     Type = 0x0f // data 8
	TypeConnect  Type = 0x10 // topic 32, flags i, network b, peer id b
	TypeRefused  Type = 0x11 // code i, reason b

	TypeMeet      Type = 0x20 // digest 32, proof 32, flags i, more i, endpoints i × 16
	TypeMet       Type = 0x21 // digest 32, code i, proof 32, more i, endpoints i × 16
	TypeEndpoints Type = 0x22 // digest 32, more i, endpoints i × 16
	TypeOpen      Type = 0x23 // digest 32, proof 32, from 16, to 16, flags i
	TypeOpened    Type = 0x24 // code i, proof 32
	TypeHost      Type = 0x25 // flags i, run 16
	TypePart      Type = 0x26 // digest 32, code i
	TypeGuess     Type = 0x27 // tags i × 8
)

// typeNames are the names of docs/PROTOCOL.md.
var typeNames = map[Type]string{
	TypeHello:     "HELLO",
	TypeWelcome:   "WELCOME",
	TypeJoin:      "JOIN",
	TypeJoined:    "JOINED",
	TypeLeave:     "LEAVE",
	TypeLeft:      "LEFT",
	TypeStatus:    "STATUS",
	TypePeer:      "PEER",
	TypeAccept:    "ACCEPT",
	TypeDecline:   "DECLINE",
	TypeWithdraw:  "WITHDRAW",
	TypeCredit:    "CREDIT",
	TypeGoaway:    "GOAWAY",
	TypePing:      "PING",
	TypePong:      "PONG",
	TypeConnect:   "CONNECT",
	TypeRefused:   "REFUSED",
	TypeMeet:      "MEET",
	TypeMet:       "MET",
	TypeEndpoints: "ENDPOINTS",
	TypeOpen:      "OPEN",
	TypeOpened:    "OPENED",
	TypeHost:      "HOST",
	TypePart:      "PART",
	TypeGuess:     "GUESS",
}

// Known reports whether t is a frame of this version. One that stands where it does not belong is
// CodeProtocol; others are skipped.
func (t Type) Known() bool {
	_, ok := typeNames[t]
	return ok
}

// String returns the name of t in docs/PROTOCOL.md, or its number in hex.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", uint64(t))
}
