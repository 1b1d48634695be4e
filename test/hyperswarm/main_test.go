//go:build !race

package hyperswarm

import (
	"os"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
)

func TestMain(m *testing.M) {
	os.Exit(browser.Main(m))
}
