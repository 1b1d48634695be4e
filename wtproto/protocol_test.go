package wtproto

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const protocolFile = "../docs/PROTOCOL.md"

func readProtocol(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(protocolFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns the part of doc under a heading that begins with title, up to the next heading
// of the same kind.
func section(t *testing.T, doc, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(doc, "\n"+title)
	if !found {
		t.Fatalf("PROTOCOL.md has no section %q", title)
	}
	level, _, _ := strings.Cut(title, " ")
	body, _, _ := strings.Cut(rest, "\n"+level+" ")
	return body
}

var frameBlock = regexp.MustCompile("(?s)```frame ([A-Z]+)\n(.*?)```")

// The worked example of every frame stands in the section of that frame, and is the first of its
// vectors.
func TestProtocolExamples(t *testing.T) {
	doc := readProtocol(t)
	if n := len(frameBlock.FindAllString(doc, -1)); n != len(typeNames) {
		t.Errorf("%d worked examples, want %d", n, len(typeNames))
	}
	for _, typ := range typesInOrder() {
		block := frameBlock.FindStringSubmatch(section(t, doc, fmt.Sprintf("### %v (0x%02x)", typ, uint64(typ))))
		if block == nil || block[1] != typ.String() {
			t.Errorf("%v: no worked example", typ)
			continue
		}
		var digits strings.Builder
		for line := range strings.Lines(block[2]) {
			part, comment, _ := strings.Cut(strings.TrimSpace(line), "  ")
			digits.WriteString(part)
			if strings.TrimSpace(comment) == "" {
				t.Errorf("%v: %q has no comment", typ, line)
			}
		}
		got, err := hex.DecodeString(digits.String())
		if err != nil {
			t.Errorf("%v: %v", typ, err)
			continue
		}
		var file vectorFile
		readStrictly(t, strings.ToLower(typ.String())+".json", &file)
		want, err := unhex(file.Vectors[0].Frame)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: the worked example is %x, want %x, %v", typ, got, want, err)
		}
	}
}

var numberRow = regexp.MustCompile(`(?m)^\| 0x([0-9a-f]{2}) \| \[?([A-Z_]+)\b`)

// numberedRows returns the names of a table whose first column are numbers in hex.
func numberedRows(t *testing.T, text string) map[uint64]string {
	t.Helper()
	rows := make(map[uint64]string)
	for _, row := range numberRow.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseUint(row[1], 16, 64)
		if err != nil || rows[n] != "" {
			t.Errorf("row %q, %v: twice or no number", row[0], err)
		}
		rows[n] = row[2]
	}
	return rows
}

func TestProtocolTables(t *testing.T) {
	doc := readProtocol(t)

	types := numberedRows(t, section(t, doc, "## 4. Frames"))
	if len(types) != len(typeNames) {
		t.Errorf("%d types, want %d", len(types), len(typeNames))
	}
	for typ, name := range typeNames {
		if types[uint64(typ)] != name {
			t.Errorf("type %#x is %q, want %q", uint64(typ), types[uint64(typ)], name)
		}
	}

	codes := numberedRows(t, section(t, doc, "## 14. Codes"))
	if len(codes) != len(codeNames) {
		t.Errorf("%d codes, want %d", len(codes), len(codeNames))
	}
	for c, name := range codeNames {
		if codes[uint64(c)] != name {
			t.Errorf("code %#x is %q, want %q", c, codes[uint64(c)], name)
		}
	}

	limits := section(t, doc, "## 13. Limits")
	for name, limit := range map[string]int{
		"payload": MaxPayload, "token": MaxToken, "agent": MaxAgent, "reason": MaxReason,
		"network name": MaxNetwork, "peer id": MaxPeerID, "address": MaxAddress, "reason in STATUS": MaxNetworkReason,
	} {
		if row := fmt.Sprintf("\n| %s | %d bytes |\n", name, limit); !strings.Contains(limits, row) {
			t.Errorf("no row %q", row)
		}
	}
	for name, limit := range map[string]int{"hashes": MaxHashes, "networks": MaxNetworks, "endpoints": MaxEndpoints, "tags": MaxTags} {
		if row := fmt.Sprintf("\n| %s | %d elements |\n", name, limit); !strings.Contains(limits, row) {
			t.Errorf("no row %q", row)
		}
	}
}

// Every value that the document computes from the topic "wowcool" is in the vectors, and every
// such value of the code is in the document.
func TestProtocolValues(t *testing.T) {
	doc := readProtocol(t)
	var file derivedFile
	readStrictly(t, "derived.json", &file)
	want := []string{
		file.Topics[0].Topic.String(), file.Digests[0].Digest, file.Digests[0].CID,
		file.Endpoints[0].Secret, file.Endpoints[0].Endpoint,
		ALPN, Path, InfoPath, HostProtocol, "4,096", CertificatePinned, CertificateCA, NetworkClient,
	}
	for _, l := range []ProofLabel{ProofMeet, ProofMet, ProofOpen, ProofOpened} {
		i := slices.IndexFunc(file.Proofs, func(p proofVector) bool {
			return p.Label == l && p.Topic == file.Topics[0].Topic
		})
		if i < 0 {
			t.Errorf("no proof with label %q for the topic of the document", l)
			continue
		}
		want = append(want, file.Proofs[i].Proof, file.Proofs[i].Sender)
	}
	for _, v := range want {
		if !strings.Contains(doc, v) {
			t.Errorf("PROTOCOL.md does not say %s", v)
		}
	}
	if MinCredit != 4096 {
		t.Errorf("MinCredit is %d, want what PROTOCOL.md says", MinCredit)
	}
}

var link = regexp.MustCompile(`\]\(#([^)]*)\)`)

// Every link within the document leads to a heading.
func TestProtocolLinks(t *testing.T) {
	doc := readProtocol(t)
	anchors := make(map[string]bool)
	drop := regexp.MustCompile(`[^a-z0-9 -]`)
	for line := range strings.Lines(doc) {
		if title := strings.TrimLeft(line, "#"); title != line {
			anchors[strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")] = true
		}
	}
	for _, l := range link.FindAllStringSubmatch(doc, -1) {
		if !anchors[l[1]] {
			t.Errorf("no heading for #%s", l[1])
		}
	}
}
