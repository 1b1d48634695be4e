package main

import (
	"net"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// completionCmd is swarm completion.
type completionCmd struct{ kongcompletion.Completion }

// Help is printed below the options.
func (*completionCmd) Help() string {
	return "Put the line that it prints into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish." +
		examples("swarm completion bash", "swarm completion fish", "swarm completion -c zsh")
}

// completeLine answers a shell that asks how a command line may go on, and reports whether one
// did.
func completeLine(k *kong.Kong) (asked bool) {
	kongcompletion.Register(
		k,
		kongcompletion.WithExitFunc(func(int) { asked = true }),
		kongcompletion.WithPredictors(map[string]complete.Predictor{
			"word":      complete.PredictFunc(completeWord),
			"code":      complete.PredictFunc(completeCode),
			"file":      complete.PredictFunc(completeFile),
			"dht":       complete.PredictSet("public", "private", "off"),
			"transport": complete.PredictSet("auto", "quic", "websocket"),
			"dht-serve": complete.PredictSet("auto", "always", "never"),
			"network":   complete.PredictSet("dht", "lan", "static", "client"),
			"interface": complete.PredictFunc(completeInterface),
		}),
	)
	return asked
}

// completeWord leaves a word as it is that only people know, such as a topic. Without that, bash
// and zsh would take it for the name of a file.
func completeWord(a complete.Args) []string {
	if a.Last == "" || strings.HasPrefix(a.Last, "-") {
		return nil
	}
	return []string{a.Last}
}

// completeCode knows the words of codes.
func completeCode(a complete.Args) []string {
	at := strings.LastIndex(a.Last, "-") + 1
	if at == 0 || strings.Count(a.Last, "-") > codeWords || !codeBegin.MatchString(a.Last) {
		return completeWord(a)
	}
	var all []string
	for _, word := range codeList() {
		if strings.HasPrefix(word, a.Last[at:]) {
			all = append(all, a.Last[:at]+word)
		}
	}
	return all
}

// completeFile leaves files to bash and zsh, which do it better. Only fish has no COMP_POINT.
func completeFile(a complete.Args) []string {
	if os.Getenv("COMP_POINT") != "" {
		return nil
	}
	return complete.PredictFiles("*").Predict(a)
}

// completeInterface knows the network interfaces of this machine.
func completeInterface(complete.Args) (names []string) {
	all, _ := net.Interfaces() // without them nothing is completed
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}
