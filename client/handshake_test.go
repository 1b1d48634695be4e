package client

import (
	"reflect"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestParseGatewayForOthers(t *testing.T) {
	for _, c := range []struct {
		address string
		want    wtproto.GatewayURL // the zero one for an error
	}{
		{"gateway.example", wtproto.GatewayURL{Host: "gateway.example", Port: 443}},
		{"[::1]:4433", wtproto.GatewayURL{Host: "::1", Port: 4433}},
		{"https://gateway.example:4433/", wtproto.GatewayURL{Host: "gateway.example", Port: 4433}},
		{"swarmgate://gateway.example/#a", wtproto.GatewayURL{Host: "gateway.example", Port: 443}},
		{"http://127.0.0.1:8080", wtproto.GatewayURL{}},
		{"gateway.example:0", wtproto.GatewayURL{}},
	} {
		got, err := ParseGateway(c.address)
		if failed := err != nil; !reflect.DeepEqual(got, c.want) || failed != (c.want.Host == "") {
			t.Errorf("ParseGateway(%q) = %+v, %v, want %+v", c.address, got, err, c.want)
		}
	}
}
