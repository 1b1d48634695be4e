package discovery

import "time"

// Observer gets events of networks, for metrics. Its functions may be nil. Several goroutines may
// call them at once, and wait for them, so they must return at once.
type Observer struct {
	// LookedUp is called after each look-up: of one topic in a DHT, or of all topics on a LAN.
	// found is the number of answers. err says why some or all answers may be missing.
	LookedUp func(network string, found int, took time.Duration, err error)
	// Announced is called after each announcement of a topic.
	Announced func(network string, took time.Duration, err error)
	// Turned is called when work begins that had to wait for its turn. work is "lookup" or
	// "announcement" of a topic, or "dial" of a host. waited is how long it waited.
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
