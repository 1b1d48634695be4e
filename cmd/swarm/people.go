package main

import (
	"encoding/hex"
	"os"
	"strings"
	"unicode"
)

// people says events in a line for people, who read a terminal. The zero value has no colors.
type people struct {
	colors bool
}

// newPeople obeys NO_COLOR (https://no-color.org).
func newPeople() *people { return &people{colors: os.Getenv("NO_COLOR") == ""} }

// line returns the line for an event, or an empty text if people need not know of it.
func (p people) line(v event) string {
	good := true
	var words string
	switch v.Event {
	case "joined":
		words = "joined " + v.Name
	case "listening":
		words = "listening on " + v.Address
	case "ready":
		words = "peer " + shortID(v.Peer.name()) + " on " + v.Name
	case "peer":
		if v.Peer.Further {
			return ""
		}
		words = "peer " + v.Peer.short()
	case "found":
		words = "peer " + v.Peer.short()
	case "refused":
		good, words = false, "no stream for "+v.Address+": "+v.Message
	case "end":
		if v.Message == "" {
			return ""
		}
		good, words = false, "a peer was cut off: "+v.Message
	case "warning":
		good, words = false, v.Message
	case "disconnected":
		good, words = false, "connection lost: "+v.Message
	case "connected":
		words = "connected again"
	default:
		return ""
	}
	mark, color := "✓ ", "\x1b[32m"
	if !good {
		mark, color = "✗ ", "\x1b[31m"
	}
	if p.colors {
		mark = color + mark + "\x1b[0m"
	}
	return mark + printable(words) + "\n"
}

// short is the peer in a few characters, such as "dht 12D3…K9fQ".
func (p peer) short() string { return p.Network + " " + shortID(p.name()) }

// shortID returns the ends of an id.
func shortID(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:4] + "…" + id[len(id)-4:]
}

// printable keeps strangers' words from steering the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// readyEvent is r as an event.
func readyEvent(r readyLine, topic topicArg) event {
	return event{Event: "ready", Topic: r.Topic, Name: topic.label(), Peer: &peer{ID: hex.EncodeToString([]byte(r.ID)), Host: r.ID}}
}

// label is what people call the topic: its name, or the beginning of its key.
func (t topicArg) label() string {
	if t.guessable() || t.isNew || t.code != "" {
		return t.name
	}
	return shortID(t.name)
}
