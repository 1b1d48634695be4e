// Package manpage writes manual pages of programs whose command lines are read by kong. A page
// holds what --help says of the program and of each of its commands, in the language of man(7).
package manpage

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Page is what the command line of a program does not tell of itself.
type Page struct {
	Section int    // of the manual: 1 for everybody's programs, 8 for daemons
	Version string // such as "swarm v1.2.3"; a [Flag] takes that of --version
	Brief   string // what it is, in one line, without a full stop
	// Sections follow those that are made from the command line.
	Sections []Section
}

// Flag is a flag that prints the [Page] that is bound to the parser (kong.Bind), for packages.
type Flag bool

// BeforeReset prints the page and ends the program.
func (Flag) BeforeReset(k *kong.Kong, vars kong.Vars, p Page) error {
	defer k.Exit(0)
	p.Version = vars["version"]
	return p.Write(k.Stdout, k.Model)
}

// Section is a titled part of a page. A line of Text that begins with two spaces is printed as it
// is, and an empty line ends a paragraph.
type Section struct{ Title, Text string }

// Write writes the manual page of app.
func (p Page) Write(w io.Writer, app *kong.Application) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s %d \"\" %s\n", quote(strings.ToUpper(app.Name)), p.Section, quote(p.Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(app.Name), escape(p.Brief))
	b.WriteString(".SH SYNOPSIS\n")
	commands := app.Leaves(true)
	if len(commands) == 0 {
		synopsis(&b, app.Node)
	}
	for _, c := range commands {
		synopsis(&b, c)
	}
	b.WriteString(".SH DESCRIPTION\n")
	text(&b, app.Help)
	text(&b, app.Detail)
	b.WriteString(".SH OPTIONS\n")
	flags(&b, app.Flags)
	if len(commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
	}
	for _, c := range commands {
		fmt.Fprintf(&b, ".SS %s\n", quote(usage(c)))
		text(&b, c.Help)
		text(&b, c.Detail)
		for _, a := range c.Positional {
			item(&b, strings.ToUpper(strings.Trim(a.Summary(), "<>[]. ")), a.Help)
		}
		for n := c; n != nil && n != app.Node; n = n.Parent {
			flags(&b, n.Flags)
		}
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n", quote(s.Title))
		text(&b, s.Text)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// usage is a command line, such as "swarm send FILE…".
func usage(n *kong.Node) string {
	words := []string{n.FullPath()}
	for _, a := range n.Positional {
		words = append(words, strings.ToUpper(strings.NewReplacer("<", "", ">", "", " ...", "…").Replace(a.Summary())))
	}
	return strings.Join(words, " ")
}

func synopsis(b *bytes.Buffer, n *kong.Node) {
	fmt.Fprintf(b, ".PP\n.B %s\n[\\fIoption\\fR ...]\\&\n", escape(n.FullPath()))
	if rest := strings.TrimPrefix(usage(n), n.FullPath()); rest != "" {
		fmt.Fprintf(b, "%s\n", escape(strings.TrimSpace(rest)))
	}
}

// flags writes an item for each flag, those of a group below its title.
func flags(b *bytes.Buffer, all []*kong.Flag) {
	group := ""
	for _, f := range all {
		if f.Hidden {
			continue
		}
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(b, ".SS %s\n", quote(group))
		}
		name := "--" + f.Name
		if f.Tag.Negatable != "" {
			name = "--[no-]" + f.Name
		}
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", " + name
		}
		if !f.IsBool() && !f.IsCounter() {
			name += " " + placeholder(f)
		}
		help := f.Help
		for _, env := range f.Envs {
			help = strings.ReplaceAll(help, " ($"+env+")", "")
		}
		if len(f.Envs) > 0 {
			help += " Environment: " + strings.Join(f.Envs, ", ") + "."
		}
		item(b, name, help)
	}
}

// placeholder returns what stands for the value of f, with "…" if there may be several.
func placeholder(f *kong.Flag) string {
	p := f.PlaceHolder
	if p == "" {
		p = strings.Trim(f.FormatPlaceHolder(), `"`)
	}
	if f.IsSlice() {
		p += " …"
	}
	return p
}

func item(b *bytes.Buffer, name, help string) {
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", escape(name), escape(help))
}

// text writes paragraphs.
func text(b *bytes.Buffer, s string) {
	for paragraph := range strings.SplitSeq(strings.Trim(s, "\n"), "\n\n") {
		lines := strings.Split(paragraph, "\n")
		asIs := !slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "  ") })
		switch {
		case paragraph == "":
		case asIs:
			b.WriteString(".PP\n.RS 2\n.nf\n")
			for _, l := range lines {
				fmt.Fprintf(b, "%s\n", escape(l[2:]))
			}
			b.WriteString(".fi\n.RE\n")
		default:
			fmt.Fprintf(b, ".PP\n%s\n", escape(strings.Join(lines, " ")))
		}
	}
}

// escape returns s, one line, as roff prints it: nothing in it is a request.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// quote returns s as one argument of a request.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
