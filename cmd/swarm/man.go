package main

import "github.com/swarmgate/swarmgate/internal/manpage"

// manual is what the command line does not tell of itself.
var manual = manpage.Page{
	Section: 1, Brief: "a client of swarmgate, and a native peer",
	Sections: []manpage.Section{
		{Title: "EXIT STATUS", Text: "0 at a regular end, and after Ctrl-C or SIGTERM; 1 if something failed; 2 if the command line is wrong."},
		{Title: "SEE ALSO", Text: "swarmgate(8), and docs/OPERATING.md of the source."},
	},
}
