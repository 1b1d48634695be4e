package browser

import (
	"os"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/test/gateway"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// A test that asks for a browser which has ended by itself gets another one, and the one that had
// a page in it is told.
func TestBrowserThatEnds(t *testing.T) {
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			d := sharedDriver(t, name)
			if sharedDriver(t, name) != d {
				t.Error("there are two browsers")
			}
			waiting, err := d.call(0, "window", map[string]any{"page": "patient.js"})
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(d.pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if a := <-waiting; a.Error == "" {
				t.Errorf("the page answered %s, though its browser had ended", a.Result)
			}
			gateway.Eventually(t, "the driver ends", d.ended)
			another := sharedDriver(t, name).open(t, "blank.html")
			if another.PID == d.pid {
				t.Error("the browser that has ended was given to another test")
			}
		})
	}
	if !shared.ended {
		t.Error("nobody has noted that a browser ended")
	}
}
