package envvar

import (
	"slices"
	"testing"

	"github.com/alecthomas/kong"
)

// A blank variable is as one that is not set: the default holds. It had been a value, and a bad
// one.
func TestIgnoreBlank(t *testing.T) {
	for value, want := range map[string]string{"": "a", " \t\r\n": "a", "b": "b"} {
		var cli struct {
			Outer string `env:"ENVVAR_OUTER" enum:"a,b" default:"a"`
			Run   struct {
				Inner string   `env:"ENVVAR_INNER" enum:"a,b" default:"a"`
				List  []string `env:"ENVVAR_LIST"`
			} `cmd:""`
		}
		for _, name := range []string{"OUTER", "INNER", "LIST"} {
			t.Setenv("ENVVAR_"+name, value)
		}
		k, err := kong.New(&cli)
		if err != nil {
			t.Fatal(err)
		}
		IgnoreBlank(k.Model.Node)
		if _, err := k.Parse([]string{"run"}); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		if cli.Outer != want || cli.Run.Inner != want || (len(cli.Run.List) == 0) != Blank(value) {
			t.Errorf("%q: outer %q, inner %q, list %q; want %s", value, cli.Outer, cli.Run.Inner, cli.Run.List, want)
		}
		if f := k.Model.Flags[len(k.Model.Flags)-1]; !slices.Equal(f.Envs, []string{"ENVVAR_OUTER"}) {
			t.Errorf("the help names %q", f.Envs)
		}
	}
}
