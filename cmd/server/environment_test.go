package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReadEnvironment(t *testing.T) {
	var known []string
	for _, f := range model(t) {
		known = append(known, f.Envs...)
	}
	for variable, want := range map[string]string{
		"PATH=/bin":                           "",
		"SWARMGATE_LISTEN=:1":                 "",
		"SWARMGATE_LISTEN=":                   "",
		"SWARMGATE_CONFIG=x.yaml":             "",
		"SWARMGATE_CONFIG= \t":                "note",
		"SWARMGATE_TOKEN_FIEL=x":              "SWARMGATE_TOKEN_FILE",
		"SWARMGATE_TOKENFILE=x":               "SWARMGATE_TOKEN_FILE",
		"SWARMGATE_TOKEN_FIEL=":               "SWARMGATE_TOKEN_FILE",
		"SWARMGATE_ALLOW_ORIGINS=*":           "SWARMGATE_ALLOW_ORIGIN",
		"SWARMGATE_NAMES=a":                   "SWARMGATE_NAME",
		"SWARMGATE_MAX_SESSION=1":             "SWARMGATE_MAX_SESSIONS",
		"Swarmgate_Listen=:1":                 "SWARMGATE_LISTEN",
		"SWARMGATE_TAG=v1":                    "note", // not SWARMGATE_LAN
		"SWARMGATE_VERSION=v1":                "note",
		"SWARMGATE_MODE=x":                    "note", // not SWARMGATE_DEMO
		"SWARMGATE_TOKEN=x":                   "",
		"SWARMGATE_SERVICE_PORT_QUIC=4433":    "",
		"SWARMGATE_PORT_4433_UDP_PROTO=udp":   "",
		"SWARMGATE_A_B_PORT_53_UDP=udp://x:1": "",
		"SWARMGATE_=x":                        "note",
		"SWARMGATEX=x":                        "",
	} {
		e := readEnvironment([]string{variable}, known)
		got := ""
		switch {
		case len(e.mistakes) == 1 && len(e.notes) == 0:
			got = strings.TrimSuffix(e.mistakes[0].Error()[strings.LastIndex(e.mistakes[0].Error(), " ")+1:], "?")
		case len(e.mistakes) == 0 && len(e.notes) == 1:
			got = "note"
		}
		if got != want || len(e.mistakes)+len(e.notes) > 1 {
			t.Errorf("%q: %v, %v; want %q", variable, e.mistakes, e.notes, want)
		}
	}
}

// Elements are read without the spaces around them, and those of which nothing is there do not
// count, wherever the list is.
func TestLists(t *testing.T) {
	want := []string{"a.example", "b.example"}
	for _, list := range []string{"a.example,b.example", " a.example , b.example ", "a.example,\n\tb.example,\r\n", ",a.example,,b.example, "} {
		t.Setenv("SWARMGATE_NAME", "")
		if got := parsed(t, "--name", list).names(); !slices.Equal(got, want) {
			t.Errorf("--name %q: %q, want %q", list, got, want)
		}
		t.Setenv("SWARMGATE_NAME", list)
		if got := parsed(t).names(); !slices.Equal(got, want) {
			t.Errorf("SWARMGATE_NAME=%q: %q, want %q", list, got, want)
		}
	}
	t.Setenv("SWARMGATE_NAME", " ")
	if got := parsed(t, "--config", writeFile(t, "name: [' a.example', b.example]")).names(); !slices.Equal(got, want) {
		t.Errorf("in a file: %q, want %q", got, want)
	}
	if got := parsed(t, "--static", `to\,pic=tcp://127.0.0.1:1,b=tcp://127.0.0.1:1`).staticServices(); len(got) != 2 || got[0].Topic == got[1].Topic {
		t.Errorf("a comma that does not separate: %v", got)
	}
}

// An alias may stand for a value, a list, an element of one, or a mapping that is merged.
func TestAliases(t *testing.T) {
	o := parsed(t, "--config", writeFile(t, `
x-all: &all {name: &names [a.example, &second b.example], drain: &nothing null}
<<: *all
lan: &on yes
lan-interface: *names
allow-private: *on
p2p-listen: *nothing
dht-seed: []
jwt-key: *second
`))
	if got := o.names(); !slices.Equal(got, []string{"a.example", "b.example"}) || !slices.Equal(o.LANInterface, got) {
		t.Errorf("names %q, interfaces %q; want two of each", got, o.LANInterface)
	}
	if !o.LAN || !o.AllowPrivate || o.Drain == 0 || len(o.P2PListen) != 0 || o.JWTKey != "b.example" {
		t.Errorf("lan %v, allow-private %v, drain %v, p2p-listen %v, jwt-key %s", o.LAN, o.AllowPrivate, o.Drain, o.P2PListen, o.JWTKey)
	}
}
