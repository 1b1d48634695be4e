package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/internal/envvar"
	"github.com/swarmgate/swarmgate/internal/logwriter"
	"github.com/swarmgate/swarmgate/internal/manpage"
	"github.com/swarmgate/swarmgate/internal/oneline"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
)

// flushWithin is how long the end of the program waits for what reads its log.
const flushWithin = time.Second

// commands are what the program can do. Each is in the file of its name.
type commands struct {
	Join    joinCmd    `cmd:"" help:"Connect standard input and output with the peers of a topic, through a gateway."`
	Forward forwardCmd `cmd:"" help:"Connect each stream of a topic's peers with a TCP service, through a gateway."`
	Listen  listenCmd  `cmd:"" help:"Connect each TCP connection to an address with a peer of a topic, through a gateway."`
	Send    sendCmd    `cmd:"" help:"Send files to somebody on a topic, through a gateway."`
	Receive receiveCmd `cmd:"" help:"Receive the files that somebody on a topic sends, through a gateway."`
	Peer    peerCmd    `cmd:"" help:"Be a native peer of a topic, without a gateway."`
	Topic   topicCmd   `cmd:"" help:"Print the key of a topic."`
	Token   tokenCmd   `cmd:"" help:"Make tokens that a gateway lets in, and look at them."`
	Status  statusCmd  `cmd:"" help:"Print what a gateway says of itself and of a topic."`
	Doctor  doctorCmd  `cmd:"" help:"Find out why a gateway cannot be reached, and what to do."`

	Completion completionCmd `cmd:"" help:"Print how a shell completes the command lines of swarm with the Tab key."`

	JSON    bool             `name:"json" help:"Print a line of JSON for each event on standard output."`
	Verbose bool             `short:"v" help:"Log what the networks do."`
	Version kong.VersionFlag `help:"Print the version."`
	Man     manpage.Flag     `hidden:"" help:"Print the manual page."`
}

// program is what the commands work with.
type program struct {
	ctx      context.Context // ends with the program
	fail     func(error)     // ends it
	stdin    io.Reader
	progress *progress // and all that is written to standard error
	events   *events
	log      *slog.Logger
}

// run is the program: it returns its exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if !isTerminal(stderr) { // a terminal is read, or it ends the program
		file := logwriter.New(stderr, func(int) {})
		defer file.Close(flushWithin)
		stderr = file
	}
	var cmds commands
	var helped bool
	k, err := newParser(&cmds, stdout, stderr, func(int) { helped = true })
	if err != nil {
		return printError(stderr, err, statusFailed)
	}
	if completeLine(k) {
		return 0
	}
	envvar.IgnoreBlank(k.Model.Node)
	parsed, err := k.Parse(args)
	switch {
	case helped:
		return 0
	case err != nil:
		return printError(stderr, err, statusUsage)
	}
	level := slog.LevelInfo
	if cmds.Verbose {
		level = slog.LevelDebug
	}
	forPeople := isTerminal(stderr) && !cmds.Verbose
	if forPeople {
		level = slog.LevelWarn
	}
	lines := newProgress(stderr)
	log := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))
	life, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := &program{ctx: life, fail: fail, stdin: stdin, progress: lines, events: newEvents(stdout, cmds.JSON, log, fail), log: log}
	if forPeople && !cmds.JSON {
		p.events.terminal = newTerminal(lines)
		defer p.events.terminal.close()
	}
	err = parsed.Run(p)
	if helped {
		return 0
	}
	if life.Err() != nil && ctx.Err() == nil {
		err = context.Cause(life)
	}
	if err != nil {
		if errors.Is(err, errUnread) {
			return statusFailed
		}
		if !errors.Is(err, errNoSession) { // which the diagnosis has said
			p.events.failed(err)
		}
		return printError(stderr, err, statusFailed)
	}
	return 0
}

// newParser returns what reads command lines into cmds. exit is called instead of a command if
// there is nothing more to do.
func newParser(cmds *commands, stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(cmds,
		kong.Name("swarm"),
		kong.Description("A client of swarmgate, and a native peer. TOPIC is a name, 64 hexadecimal digits, or a gateway "+
			"URL such as swarmgate://gateway.example:4433/#wowcool. swarm COMMAND --help has examples."),
		kong.Vars{"version": "swarm " + version()},
		kong.Bind(manual),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
	)
}

// examples are the end of a command's help. A test sees that each of them is a command line.
func examples(lines ...string) string {
	return "\n\nExamples:\n\n  " + strings.Join(lines, "\n  ")
}

// printError prints err in one line and returns status.
func printError(w io.Writer, err error, status int) int {
	fmt.Fprintf(w, "swarm: %s\n", printable(oneline.Text(err)))
	return status
}

// released is the version of a release, such as v1.2.3, which the linker sets.
var released string

// version returns the version of the release, or of the module that the program was built from,
// such as v1.2.3 or (devel).
func version() string {
	if released != "" {
		return released
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
