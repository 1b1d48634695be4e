package main

import (
	"cmp"
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
	"github.com/swarmgate/swarmgate/internal/envvar"
)

// errHelp says that the arguments asked only for a text, which was printed.
var errHelp = errors.New("help was printed")

// parse reads the configuration: flags before the environment, before the file, before the
// defaults. Its error lists every mistake, one a line. The options are then what could be read; nil
// if that is nothing.
func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{given: make(map[string]bool)}
	p := &parser{}
	k, err := p.kong(o, stdout)
	if err != nil {
		return nil, err
	}
	if asked, err := completeLine(k); asked || err != nil {
		return nil, cmp.Or(err, errHelp)
	}
	envvar.IgnoreBlank(k.Model.Node)
	var variables []string
	for _, f := range k.Model.Flags {
		variables = append(variables, f.Envs...)
	}
	e := readEnvironment(os.Environ(), variables)
	p.mistakes, o.notes = e.mistakes, e.notes
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
	return o, errors.Join(p.mistakes...)
}

// parser collects the mistakes of a configuration, so that the error can list them all.
type parser struct {
	place    func(*kong.Value) string // names a value as its present source (flags or environment) does
	readers  map[reflect.Type]reader  // of the types of values
	mistakes []error
	helped   bool
}

// reader reads a value. Its error says what is wrong with the text.
type reader func(string) (reflect.Value, error)

// kong returns the kong parser of the options.
func (p *parser) kong(o *options, stdout io.Writer) (*kong.Kong, error) {
	p.place, p.readers = (*kong.Value).ShortSummary, make(map[reflect.Type]reader)
	return kong.New(o,
		kong.Name("swarmgate"),
		kong.Description("A gateway between programs that cannot join a peer-to-peer swarm themselves, and the swarm."),
		kong.Vars{"version": "swarmgate " + version()},
		kong.Bind(manual),
		kong.DefaultEnvars(envPrefix),
		kong.Configuration(p.file),
		kong.Writers(stdout, stdout),
		kong.WithHyphenPrefixedParameters(true), // a limit may be negative
		kong.Exit(func(int) { p.helped = true }),
		kong.WithBeforeReset(func() error { p.place = inEnv; return nil }), // Reset reads the environment
		text(p, parseText), text(p, parseHostPort), text(p, parsePublicName), text(p, parseOrigin), text(p, parseStatic),
		text(p, p2p.ParseMode), text(p, p2p.ParseServe), text(p, parseCIDR), text(p, parseDatNode), text(p, parseDatPorts),
		text(p, parseLimit), text(p, parseSize), text(p, parseDuration), text(p, parseLevel), text(p, parseLogFormat),
		kong.KindMapper(reflect.Slice, kong.MapperFunc(p.list)), kong.KindMapper(reflect.Bool, boolean{p}),
	)
}

func inEnv(v *kong.Value) string { return strings.Join(v.Tag.Envs, ", ") }

// mistake notes that v has a bad value.
func (p *parser) mistake(v *kong.Value, err error) {
	p.mistakes = append(p.mistakes, fmt.Errorf("%s: %w", p.place(v), err))
}

// text makes kong read values of type T with read, without the spaces around them.
func text[T any](p *parser, read func(string) (T, error)) kong.Option {
	r := func(s string) (reflect.Value, error) {
		v, err := read(strings.TrimSpace(s))
		return reflect.ValueOf(v), err
	}
	p.readers[reflect.TypeFor[T]()] = r
	return kong.TypeMapper(reflect.TypeFor[T](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var s string
		if err := ctx.Scan.PopValueInto("value", &s); err != nil {
			return err // there is none
		}
		p.set(ctx.Value, r, s, target.Set)
		return nil
	}))
}

// set gives the value of a text to do, or notes the mistake in it.
func (p *parser) set(v *kong.Value, read reader, s string, do func(reflect.Value)) {
	value, err := read(s)
	if err != nil {
		p.mistake(v, err)
		return
	}
	do(value)
}

// list is the mapper of values that may be repeated. Elements of which nothing is there do not
// count, such as what follows a comma at the end.
func (p *parser) list(ctx *kong.DecodeContext, target reflect.Value) error {
	var s string
	if err := ctx.Scan.PopValueInto("value", &s); err != nil {
		return err
	}
	read := p.readers[target.Type().Elem()]
	for _, e := range kong.SplitEscaped(s, ctx.Value.Tag.Sep) {
		if !envvar.Blank(e) {
			p.set(ctx.Value, read, e, func(v reflect.Value) { target.Set(reflect.Append(target, v)) })
		}
	}
	return nil
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
	switch s := strings.TrimSpace(ctx.Scan.Pop().String()); strings.ToLower(s) {
	case "true", "yes", "on", "1":
		target.SetBool(true)
	case "false", "no", "off", "0":
		target.SetBool(false)
	default:
		b.p.mistake(ctx.Value, fmt.Errorf("%q: want true or false", s))
	}
	return nil
}

// file is the configuration file: a mapping in YAML of names of flags to scalars, or to lists for
// flags that may be repeated. Each may be an alias. Keys that begin with x- are for anchors.
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
	var known []string
	for _, flag := range app.Flags {
		if len(flag.Envs) > 0 && flag.Name != "config" {
			known = append(known, flag.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if slices.Contains(known, key) || strings.HasPrefix(key, "x-") {
			continue
		}
		hint := ""
		if near, ok := nearest(key, known); ok {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		f.parser.mistakes = append(f.parser.mistakes, fmt.Errorf("%s: unknown option %q%s", f.name, key, hint))
	}
	return nil
}

// Resolve returns the value of flag as the environment would spell it. It is nil if the file has
// none, or if the environment has one.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f.values[flag.Name]
	node := resolved(&value)
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
		n = resolved(n)
		if n.Kind != yaml.ScalarNode {
			f.parser.mistake(flag.Value, errors.New("want a list of single values"))
			return nil, nil
		}
		list = append(list, n.Value)
	}
	return kong.JoinEscaped(list, flag.Tag.Sep), nil
}

// resolved returns what n stands for if it is an alias, else n.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
