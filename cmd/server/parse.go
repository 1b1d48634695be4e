package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/swarmgate/swarmgate/discovery/p2p"
)

// envPrefix begins the names of the program's variables.
const envPrefix = "SWARMGATE"

// errHelp says that the arguments asked for a text, which was printed, and nothing else.
var errHelp = errors.New("help was printed")

// parse reads the configuration: flags before the environment, before the file, before the
// defaults. Its error lists every mistake, one a line.
func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{given: make(map[string]bool)}
	p := &parser{}
	k, err := p.kong(o, stdout)
	if err != nil {
		return nil, err
	}
	ctx, err := k.Parse(args)
	if p.helped {
		return nil, errHelp
	}
	if err != nil {
		p.mistakes = append(p.mistakes, err)
		return nil, errors.Join(p.mistakes...)
	}
	for _, at := range ctx.Path {
		if at.Flag != nil {
			o.given[at.Flag.Name] = true
		}
	}
	for _, f := range ctx.Model.Flags {
		o.given[f.Name] = o.given[f.Name] || inEnvironment(f)
	}
	if err := o.complete(); err != nil {
		p.mistakes = append(p.mistakes, err)
	}
	if err := errors.Join(p.mistakes...); err != nil {
		return nil, err
	}
	return o, nil
}

// parser collects the mistakes of a configuration, so that all can be told.
type parser struct {
	place    func(*kong.Value) string // names a value, by where it is read at the moment
	mistakes []error
	helped   bool
}

// kong returns the parser of the options, as a library has it.
func (p *parser) kong(o *options, stdout io.Writer) (*kong.Kong, error) {
	p.place = (*kong.Value).ShortSummary
	return kong.New(o,
		kong.Name("swarmgate"),
		kong.Description("A gateway between programs that cannot join a peer-to-peer swarm themselves, and the swarm."),
		kong.Vars{"version": "swarmgate " + version()},
		kong.DefaultEnvars(envPrefix),
		kong.Configuration(p.file),
		kong.Writers(stdout, stdout),
		kong.WithHyphenPrefixedParameters(true), // a limit may be negative
		kong.Exit(func(int) { p.helped = true }),
		kong.WithBeforeReset(func() error { p.place = inEnv; return nil }), // Reset reads the environment
		text(p, parseText), text(p, parseHostPort), text(p, parsePublicName), text(p, parseOrigin), text(p, parseStatic),
		text(p, p2p.ParseMode), text(p, p2p.ParseServe), text(p, parseCIDR),
		text(p, parseLimit), text(p, parseSize), text(p, parseDuration), text(p, parseLevel), text(p, parseLogFormat),
		kong.KindMapper(reflect.Bool, boolean{p}),
	)
}

func inEnv(v *kong.Value) string { return strings.Join(v.Tag.Envs, ", ") }

// mistake notes that v has a bad value.
func (p *parser) mistake(v *kong.Value, err error) {
	p.mistakes = append(p.mistakes, fmt.Errorf("%s: %w", p.place(v), err))
}

// text makes kong read values of type T with read.
func text[T any](p *parser, read func(string) (T, error)) kong.Option {
	return kong.TypeMapper(reflect.TypeFor[T](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var s string
		if err := ctx.Scan.PopValueInto("value", &s); err != nil {
			return err // there is none
		}
		v, err := read(s)
		if err != nil {
			p.mistake(ctx.Value, err)
			return nil
		}
		target.Set(reflect.ValueOf(v))
		return nil
	}))
}

// boolean makes kong read flags that need no value.
type boolean struct{ p *parser }

// IsBool tells kong that there may be no value.
func (boolean) IsBool() bool { return true }

// Decode reads the value, if there is one.
func (b boolean) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	switch s := ctx.Scan.Pop().String(); strings.ToLower(s) {
	case "true", "yes", "on", "1":
		target.SetBool(true)
	case "false", "no", "off", "0":
		target.SetBool(false)
	default:
		b.p.mistake(ctx.Value, fmt.Errorf("%q: want true or false", s))
	}
	return nil
}

// inEnvironment reports whether the environment has a value for f.
func inEnvironment(f *kong.Flag) bool {
	return slices.ContainsFunc(f.Tag.Envs, func(name string) bool {
		_, ok := os.LookupEnv(name)
		return ok
	})
}

// file is the configuration file: a mapping in YAML of names of flags to scalars, or to lists for
// flags that may be repeated.
type file struct {
	parser *parser
	name   string
	values map[string]yaml.Node
}

// file reads r, which kong has opened.
func (p *parser) file(r io.Reader) (kong.Resolver, error) {
	f := &file{parser: p, name: "the configuration file", values: make(map[string]yaml.Node)}
	if n, ok := r.(interface{ Name() string }); ok {
		f.name = n.Name()
	}
	d := yaml.NewDecoder(r)
	if err := d.Decode(&f.values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: want one document", f.name)
	}
	p.place = func(v *kong.Value) string { return f.name + ": " + v.Name }
	return f, nil
}

// Validate notes keys that are not flags, or that a file may not have.
func (f *file) Validate(app *kong.Application) error {
	known := make(map[string]bool)
	for _, flag := range app.Flags {
		known[flag.Name] = len(flag.Tag.Envs) > 0 && flag.Name != "config"
	}
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if !known[key] {
			f.parser.mistakes = append(f.parser.mistakes, fmt.Errorf("%s: %q is no option", f.name, key))
		}
	}
	return nil
}

// Resolve returns the value of flag as the environment would spell it, or nil if the file has none
// or is not asked.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	node, ok := f.values[flag.Name]
	if !ok || node.Tag == "!!null" || inEnvironment(flag) {
		return nil, nil
	}
	var list []string
	switch {
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind != yaml.SequenceNode || !flag.IsSlice():
		f.parser.mistake(flag.Value, errors.New("want one value"))
		return nil, nil
	}
	for _, n := range node.Content {
		if n.Kind != yaml.ScalarNode {
			f.parser.mistake(flag.Value, errors.New("want a list of single values"))
			return nil, nil
		}
		list = append(list, n.Value)
	}
	return kong.JoinEscaped(list, flag.Tag.Sep), nil
}
