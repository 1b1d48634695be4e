package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// grantJSON is the JSON of a [Grant].
type grantJSON struct {
	Name     string    `json:"name,omitempty"`
	Topics   *[]string `json:"topics,omitempty"`
	Announce *bool     `json:"announce,omitempty"`
	LookUp   *bool     `json:"look_up,omitempty"`
	Networks *[]string `json:"networks,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Limits   Limits    `json:"limits,omitzero"`
}

// MarshalJSON returns an object that [Grant.UnmarshalJSON] reads. What a grant does not restrict
// is left out.
func (g Grant) MarshalJSON() ([]byte, error) { return json.Marshal(grantJSONOf(g)) }

func grantJSONOf(g Grant) grantJSON {
	j := grantJSON{Name: g.Name, Expires: g.Expires, Limits: g.Limits}
	if g.Topics != nil {
		topics := make([]string, len(g.Topics))
		for i, p := range g.Topics {
			topics[i] = p.String()
		}
		j.Topics = &topics
	}
	no := false
	if g.DenyAnnounce {
		j.Announce = &no
	}
	if g.DenyLookUp {
		j.LookUp = &no
	}
	if g.Networks != nil {
		j.Networks = &g.Networks
	}
	return j
}

// UnmarshalJSON reads an object with the members name (text), topics (a list of what
// [ParseTopicPrefix] reads), announce and look_up (false denies), networks (a list of names),
// expires (RFC 3339) and limits (an object with sessions, topics, new_topics, circuits,
// bytes_per_second and bytes). What is missing or null is not restricted. Other members are
// mistakes: one that is misspelled would allow what it was to forbid. A grant that
// [Grant.Validate] has something against is a mistake too.
func (g *Grant) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var j grantJSON
	if err := d.Decode(&j); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("auth: unexpected data after the grant")
	}
	grant, err := j.grant()
	if err == nil {
		*g = grant
	}
	return err
}

// grant returns the grant that j says.
func (j *grantJSON) grant() (Grant, error) {
	g := Grant{Name: j.Name, Expires: j.Expires, Limits: j.Limits}
	if j.Topics != nil {
		g.Topics = make([]TopicPrefix, len(*j.Topics))
		for i, s := range *j.Topics {
			var err error
			if g.Topics[i], err = ParseTopicPrefix(s); err != nil {
				return Grant{}, err
			}
		}
	}
	g.DenyAnnounce = j.Announce != nil && !*j.Announce
	g.DenyLookUp = j.LookUp != nil && !*j.LookUp
	if j.Networks != nil {
		g.Networks = *j.Networks
	}
	return g, g.Validate()
}
