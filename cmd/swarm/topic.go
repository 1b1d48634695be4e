package main

// topicCmd is swarm topic.
type topicCmd struct {
	Name topicArg `arg:"" help:"The name of the topic."`
}

// Run prints the key.
func (c *topicCmd) Run(p *program) error {
	if p.events.json {
		return p.events.line(event{Event: "topic", Topic: c.Name.String()})
	}
	return p.events.write([]byte(c.Name.String() + "\n"))
}
