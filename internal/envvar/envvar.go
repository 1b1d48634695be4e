// Package envvar has kong read variables of the environment as people mean them.
package envvar

import (
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// Blank reports whether a variable with this value counts as one that is not set, such as ${X:-}
// in a file of Docker Compose.
func Blank(value string) bool { return strings.TrimSpace(value) == "" }

// IgnoreBlank has kong ignore variables of the flags of n, and of the commands below it, that are
// blank. It would read them as values. Later Tag.Envs of a flag names only variables that have a
// value, while Envs names all.
func IgnoreBlank(n *kong.Node) {
	for _, f := range n.Flags {
		f.Tag.Envs = nil
		for _, name := range f.Envs {
			if !Blank(os.Getenv(name)) {
				f.Tag.Envs = append(f.Tag.Envs, name)
			}
		}
	}
	for _, child := range n.Children {
		IgnoreBlank(child)
	}
}
