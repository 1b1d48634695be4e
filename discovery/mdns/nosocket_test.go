package mdns

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// A taken port and a system without control messages once had the words of the kernel only.
func TestNoSocket(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("bind: address already in use"), "end the program that has it"},
		{fmt.Errorf("mcast: IPv4: %w", errors.ErrUnsupported), "so there is no LAN: use --no-lan"},
	} {
		err := noSocket(tc.err)
		if e, ok := errors.AsType[*wtproto.Error](err); !ok || !strings.Contains(e.Reason, tc.want) || !errors.Is(err, tc.err) {
			t.Errorf("noSocket(%v) = %v, want %q in its reason", tc.err, err, tc.want)
		}
	}
}
