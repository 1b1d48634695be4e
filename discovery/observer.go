package discovery

import "time"

// Observer is told what networks do, for metrics. Its functions may be nil. They are called by
// several goroutines at once, on paths that wait for them, so they return at once.
type Observer struct {
	// LookedUp is called after each look-up that was carried through: of one topic in a DHT, of
	// all topics on a LAN. found is how many answers came; err says why there may be more, or why
	// none could.
	LookedUp func(network string, found int, took time.Duration, err error)
	// Announced is called after each announcement of a topic that was carried through.
	Announced func(network string, took time.Duration, err error)
	// Turned is called when something begins for which there are turns: work is "lookup" or
	// "announcement" of a topic, or "dial" of a host, and waited is how long it waited.
	Turned func(network, work string, waited time.Duration)
}

// NoteLookUp calls LookedUp, if there is one, for a look-up that began at a time.
func (o *Observer) NoteLookUp(network string, found int, began time.Time, err error) {
	if o != nil && o.LookedUp != nil {
		o.LookedUp(network, found, time.Since(began), err)
	}
}

// NoteAnnouncement calls Announced, if there is one, for an announcement that began at a time.
func (o *Observer) NoteAnnouncement(network string, began time.Time, err error) {
	if o != nil && o.Announced != nil {
		o.Announced(network, time.Since(began), err)
	}
}

// NoteTurn calls Turned, if there is one.
func (o *Observer) NoteTurn(network, work string, waited time.Duration) {
	if o != nil && o.Turned != nil {
		o.Turned(network, work, waited)
	}
}
