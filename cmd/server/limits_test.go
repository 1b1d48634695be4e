package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// The table of limits in the operators' handbook stands between these two lines.
const (
	limitsBegin = "<!-- limits: made from server.Limits by go test ./cmd/server -run TestOperatingTable -update -->\n"
	limitsEnd   = "<!-- end of limits -->\n"
)

// limitTable is what docs/OPERATING.md says of the limits.
func limitTable(limits []server.Limit, flags []*kong.Flag) string {
	var b strings.Builder
	b.WriteString("\n| limit | bounds | default | option | code | why |\n|---|---|---|---|---|---|\n")
	for _, l := range limits {
		option, code := "", ""
		if f := flagOf(l, flags); f != nil {
			option = "`--" + f.Name + "`"
		}
		if l.Code != wtproto.CodeNone {
			code = l.Code.String()
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", l.Name, l.What, l.Default, option, code, l.Why)
	}
	return b.String() + "\n"
}

// flagOf returns the flag that sets a limit, or nil. The flag has the name of the field of
// server.Config.
func flagOf(l server.Limit, flags []*kong.Flag) *kong.Flag {
	field, ok := reflect.TypeFor[options]().FieldByName(l.Field)
	if !ok {
		return nil
	}
	for _, f := range flags {
		if f.Target.Type() == field.Type && strings.EqualFold(strings.ReplaceAll(f.Name, "-", ""), l.Field) {
			return f
		}
	}
	return nil
}

func TestOperatingTableOfLimits(t *testing.T) {
	text, err := os.ReadFile(operating)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), limitsBegin)
	table, after, ended := strings.Cut(rest, limitsEnd)
	if !begun || !ended {
		t.Fatalf("%s has no table of limits", operating)
	}
	want := limitTable(server.Limits(), model(t))
	if *update {
		if err := os.WriteFile(operating, []byte(before+limitsBegin+want+limitsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the table of limits in %s is not that of the program; -update writes it", operating)
	}
}

// Each limit has its own name, words, and a field of the configuration or none.
func TestLimitsAreDescribed(t *testing.T) {
	names := make(map[server.LimitName]bool)
	for _, l := range server.Limits() {
		if names[l.Name] || l.Name == "" || l.What == "" || l.Why == "" || l.Default == "" {
			t.Errorf("%+v: want a name of its own, and words", l)
		}
		names[l.Name] = true
		if _, ok := reflect.TypeFor[server.Config]().FieldByName(l.Field); !ok && l.Field != "" {
			t.Errorf("%s: server.Config has no field %s", l.Name, l.Field)
		}
	}
}
