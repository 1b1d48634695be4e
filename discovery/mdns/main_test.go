package mdns

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A zeroconf server announces itself for three seconds, also when it is shut down meanwhile.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/grandcat/zeroconf.(*Server).probe"))
}
