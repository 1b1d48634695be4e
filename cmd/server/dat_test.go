package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/discovery/dat"
)

func TestDatOptions(t *testing.T) {
	texts(t, parseDatNode, map[string]datNode{
		"a.example:6881": "a.example:6881", "[::1]:6881": "[::1]:6881", "none": "none",
		"": "", ":6881": "", "a.example": "", "a.example:0": "", "a:b": "",
	})
	texts(t, parseDatPorts, map[string]datPorts{
		"40000-40099": {First: 40000, Last: 40099}, "1-1": {First: 1, Last: 1}, "65535": {First: 65535, Last: 65535}, "30000-39999": {First: 30000, Last: 39999},
		"": {}, "0-9": {}, "9-": {}, "-9": {}, "9-8": {}, "65535-65536": {}, "a-b": {}, "30000-40000": {},
	})
	if o := parsed(t, "--dat"); !o.Dat || o.datBootstrap() != nil {
		t.Errorf("--dat alone: bootstrap %q, want nil for the public nodes", o.datBootstrap())
	}
	if o := parsed(t, "--dat", "--dat-bootstrap", "none", "--dat-dns", "a:1"); o.datBootstrap() == nil || len(o.datBootstrap()) > 0 {
		t.Errorf("none: bootstrap %q, want an empty list", o.datBootstrap())
	}
	o := parsed(t, "--dat", "--dat-bootstrap", "a:1,b:2", "--dat-listen", "127.0.0.1:3282", "--dat-ports", "40000-40001")
	if want := []string{"a:1", "b:2"}; !slices.Equal(o.datBootstrap(), want) || o.DatListen != "127.0.0.1:3282" || o.DatPorts != (datPorts{First: 40000, Last: 40001}) {
		t.Errorf("options %q, %q, %v", o.datBootstrap(), o.DatListen, o.DatPorts)
	}
	for args, want := range map[string]string{
		"--dat-listen :1":                              "--dat-listen needs --dat",
		"--dat-ports 1-2":                              "--dat-ports needs --dat",
		"--dat --dat-bootstrap none":                   "--dat finds nobody without the DHT, --dat-dns and --lan",
		"--dat --network-on-request dat --dat-dns a:1": `--network-on-request "dat": want dht, lan, static or client`,
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	if r := (dat.PortRange{}).String(); r != "" {
		t.Errorf("no ports = %q", r)
	}
}
