//go:build !race

package web

import (
	"os"
	"testing"

	"github.com/swarmgate/swarmgate/test/browser"
)

func TestMain(m *testing.M) {
	os.Exit(browser.Main(m))
}
