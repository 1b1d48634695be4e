package main

import "github.com/swarmgate/swarmgate/internal/manpage"

// manual is what the command line does not tell of itself.
var manual = manpage.Page{
	Section: 8, Brief: "a gateway to peer-to-peer swarms",
	Sections: []manpage.Section{
		{Title: "CONFIGURATION", Text: "Each option can be set in three places, which use the same names: a flag (--dev-http :8080), " +
			"a variable of the environment (SWARMGATE_DEV_HTTP=:8080), or a key of the YAML file that --config names (dev-http: \":8080\"). " +
			"A flag overrides the environment, the environment the file, and the file the default."},
		{Title: "SIGNALS", Text: "SIGTERM and SIGINT begin the end: new sessions are refused, and circuits may go on for the time of --drain. " +
			"A second signal ends the program at once. SIGHUP has the gateway look at the files of certificates, tokens and keys now, and ends nothing."},
		{Title: "EXIT STATUS", Text: "0 after a signal, 1 if something failed, 2 if the configuration is wrong; then all mistakes in it are printed, one a line."},
		{Title: "SEE ALSO", Text: "swarm(1), and docs/OPERATING.md of the source."},
	},
}
