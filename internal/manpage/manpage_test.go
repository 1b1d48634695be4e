package manpage

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

type cli struct {
	Verbose bool   `short:"v" help:"Say more."`
	Level   string `placeholder:"info" env:"TOOL_LEVEL" group:"Log" help:"How much. -1 is 'all' \\ a lot."`
	Secret  bool   `hidden:"" help:"not shown"`
	Send    send   `cmd:"" help:"Send files."`
	Hide    send   `cmd:"" hidden:"" help:"not shown"`
}

type send struct {
	Fast bool     `negatable:"" help:"Be fast."`
	To   []string `placeholder:"NAME" help:"To whom."`
	File []string `arg:"" help:"What."`
}

func (send) Help() string { return ".dotfiles too.\n\nExamples:\n\n  tool send .a\n  tool send 'b c'" }

func page(t *testing.T) []byte {
	t.Helper()
	k, err := kong.New(&cli{}, kong.Name("tool"), kong.Description("A tool."), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	p := Page{Section: 1, Version: "tool v1.2.3", Brief: "a tool", Sections: []Section{{"EXIT STATUS", "0, or 1."}}}
	if err := p.Write(&b, k.Model); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// groff takes the page without a warning, and a reader sees all that --help says.
func TestWrite(t *testing.T) {
	cmd := exec.Command("groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=200n")
	cmd.Stdin = bytes.NewReader(page(t))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("groff: %v\n%s", err, complaints.Bytes())
	}
	got := string(out)
	for _, want := range []string{
		"TOOL(1)", "tool v1.2.3", "tool - a tool", "tool send [option ...] FILE…", "-v, --verbose",
		"--level info", `How much. -1 is 'all' \ a lot. Environment: TOOL_LEVEL.`, "--[no-]fast", "--to NAME …",
		".dotfiles too.", "\n         tool send .a\n         tool send 'b c'\n", "EXIT STATUS", "0, or 1.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(got, "not shown") {
		t.Error("the page says what is hidden")
	}
	if t.Failed() {
		t.Log(got)
	}
}
