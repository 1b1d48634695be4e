package p2p

import "fmt"

// Validate returns every mistake in c, as [Listen] would, or nil. It does no I/O.
func (c Config) Validate() error {
	if _, err := c.read(); err != nil {
		return fmt.Errorf("p2p: config: %w", err)
	}
	return nil
}
