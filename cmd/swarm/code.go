package main

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sethvargo/go-diceware/diceware"
)

// code is a short secret that people can say on the phone, such as 42-tulip-lantern-parade: a
// number from 1 to 99 and three words of EFF's large list, 45 random bits together. It is the
// secret of a room, a text. The zero value is not a code.
type code string

// The parts of a code.
const (
	maxCodeNumber = 99
	codeWords     = 3
)

// newCode returns a random code.
func newCode() code {
	text := fmt.Sprint(1 + random(maxCodeNumber))
	for range codeWords {
		text += "-" + codeList()[random(len(codeList()))]
	}
	return code(text)
}

// random returns a number below n.
func random(n int) int {
	k, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand says that it never fails
	}
	return int(k.Int64())
}

// codeForm is how a code looks. Topics with such names are given by their keys.
var codeForm = regexp.MustCompile(`^[1-9][0-9]?(-[a-z]+){3}$`)

// codeBegin is how a text begins that may become a code.
var codeBegin = regexp.MustCompile(`^[1-9][0-9]?-[a-z-]*$`)

// parseCode reads a code. Case does not count, and spaces may stand for the dashes. For a text
// that does not look like a code the result is empty without an error.
func parseCode(text string) (code, error) {
	c := strings.ToLower(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '-' }), "-"))
	if !codeForm.MatchString(c) {
		return "", nil
	}
	for _, word := range strings.Split(c, "-")[1:] {
		if _, ok := slices.BinarySearch(codeList(), word); !ok {
			return "", fmt.Errorf("%q is not a word of codes (for a topic that is called %s give the key that swarm topic prints)", word, text)
		}
	}
	return code(c), nil
}

// codeList are the words of codes in the order of the alphabet: EFF's list
// (https://www.eff.org/dice, CC BY 3.0 US) without the four words that have a dash.
var codeList = sync.OnceValue(func() []string {
	var words []string
	dice := diceware.WordListEffLarge()
	for roll := range 6 * 6 * 6 * 6 * 6 {
		key := 0 // five digits from 1 to 6
		for place := 1; place < 100_000; place *= 10 {
			key += (roll%6 + 1) * place
			roll /= 6
		}
		if word := dice.WordAt(key); !strings.Contains(word, "-") {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
})
