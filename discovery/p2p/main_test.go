package p2p

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if seed := os.Getenv(childEnv); seed != "" {
		runChild(seed)
		return
	}
	goleak.VerifyTestMain(m)
}
