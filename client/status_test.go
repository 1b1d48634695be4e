package client

import (
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestStatusString(t *testing.T) {
	for _, tt := range []struct {
		status Status
		want   string
	}{
		{Status{}, "0 known, 0 connected"},
		{
			Status{Known: 3, More: true, Connected: 1, Networks: []NetworkStatus{
				{Name: "dht", State: wtproto.NetworkSearching}, {Name: "lan", State: wtproto.NetworkFailing, Reason: "no interface"},
			}},
			"at least 3 known, 1 connected; dht searching; lan failing: no interface",
		},
	} {
		if got := tt.status.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
