package main

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// completeLine answers a shell that asks how a command line may go on, and reports whether one
// did. Files are left to the shell.
func completeLine(k *kong.Kong) (asked bool, err error) {
	cmd, err := kongcompletion.Command(k)
	if err != nil {
		return false, err
	}
	for _, f := range k.Model.Flags {
		if f.Tag.Negatable != "" {
			cmd.GlobalFlags["--no-"+f.Name] = complete.PredictNothing
		}
	}
	for flag, words := range map[string][]string{
		"--dht":                {"public", "private", "off"},
		"--dht-serve":          {"auto", "always", "never"},
		"--network-on-request": {"dht", "lan", "static", "client"},
		"--log-level":          {"debug", "info", "warn", "error"},
		"--log-format":         {"text", "json"},
	} {
		cmd.GlobalFlags[flag] = complete.PredictSet(words...)
	}
	c := complete.New(k.Model.Name, cmd)
	c.Out = k.Stdout
	return c.Complete(), nil
}
