package server

import (
	"errors"

	"github.com/swarmgate/swarmgate/internal/splice"
)

// direction is one of the two ways of a circuit. One goroutine at a time runs it.
type direction struct {
	splice.Copy

	// constant after prepare
	circuit  *circuit
	dst, src end
}

func (d *direction) prepare(c *circuit, dst, src end) { d.circuit, d.dst, d.src = c, dst, src }

// run copies until src ends or one of the two fails. A direction on which nothing moves needs no
// goroutine if src says when something comes. Else it goes on in a new one, because a stack that
// has grown never becomes as small again as a new one.
func (d *direction) run() {
	err := d.Run(d.dst, d.circuit.metered(d.src))
	switch {
	case err != splice.ErrIdle || d.circuit.over.is():
		d.ended(err)
	case !d.src.onReadable(d.run):
		go d.run()
	}
}

// ended ends the circuit if the copy has failed, or if it was the last one.
func (d *direction) ended(err error) {
	c := d.circuit
	failed := d.src
	if e, ok := errors.AsType[*splice.Error](err); ok && e.Write || err == nil {
		failed = d.dst
	}
	if err == nil {
		c.note(d.src, false)
		err = d.dst.CloseWrite()
	} else {
		c.note(failed, true)
	}
	if err != nil {
		c.over.end(failed.explain(err))
	}
	if c.copying.Add(-1) == 0 {
		c.finish()
	}
}

// rest has run go on in a new goroutine.
func (d *direction) rest() { d.src.SetReadDeadline(past) }
