package server

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"
	"net/http"
	"slices"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// touch says that the STATUS of s may have changed.
func (t *topic) touch(s *subscription) {
	if !s.touched {
		s.touched = true
		t.touched = append(t.touched, s)
	}
}

// publish sends STATUS to the subscribers for whom it changed, at most once a second.
func (t *topic) publish() {
	if !t.changed && len(t.touched) == 0 {
		return
	}
	if next := t.sentAt.Add(statusEvery); t.now.Before(next) {
		t.agenda.set(&t.publishing, next)
		return
	}
	status := wtproto.Status{
		Topic: t.key, Known: uint64(len(t.peers) - t.doubles + t.neighbors()), More: t.more(), Networks: t.networkStatuses(),
	}
	to := t.touched
	if shared := fingerprintOf(t.sharedBy(status)); t.changed && shared != t.shared {
		t.shared, to = shared, t.subs
	}
	for _, s := range to {
		if s.left {
			continue
		}
		status.Connected = uint64(s.connected)
		told := status
		if !s.meetsAll() {
			told.Known = t.visible(s)
		}
		told.Networks = t.networksOf(s, status.Networks)
		frame := told.Append(nil)
		if now := fingerprintOf(frame); now != s.lastStatus {
			s.lastStatus = now
			s.session.status(s, t.key, frame)
		}
	}
	for _, s := range t.touched {
		s.touched = false
	}
	clear(t.touched)
	t.touched, t.changed, t.sentAt = t.touched[:0], false, t.now
}

// fingerprint stands for a text that is compared with later ones, and too long to be kept for that.
// Two texts have the same one once in 2^64 times. Zero is that of no text.
type fingerprint uint64

var fingerprints = maphash.MakeSeed()

func fingerprintOf(text []byte) fingerprint { return fingerprint(maphash.Bytes(fingerprints, text)) }

// sharedBy returns a text that differs if what all subscribers are told does.
func (t *topic) sharedBy(s wtproto.Status) []byte {
	b := s.Append(nil)
	for _, n := range []int{t.here.announce, t.here.lookUp, t.here.both, t.here.neither, t.barred} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, v := range t.networks {
		for _, n := range []int{v.roles.announce, v.roles.lookUp, v.roles.both} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

// visible returns how many endpoints are known on the networks that s meets.
func (t *topic) visible(s *subscription) (known uint64) {
	for _, v := range t.networks {
		if s.meets(v.name) {
			known += uint64(v.found)
		}
	}
	if s.meets(wtproto.NetworkClient) {
		known += uint64(t.neighbors())
	}
	return known
}

// neighbors returns how many other clients of this gateway a client may meet.
func (t *topic) neighbors() int {
	if t.router.cfg.IsolateClients {
		return 0
	}
	return max(len(t.subs)-1, 0)
}

// more reports whether there are more endpoints than the topic knows.
func (t *topic) more() bool { return t.withMore > 0 || !within(len(t.peers), t.router.cfg.MaxPeers) }

func (t *topic) networkStatuses() []wtproto.NetworkStatus {
	out := make([]wtproto.NetworkStatus, len(t.networks), len(t.networks)+1)
	for i, v := range t.networks {
		words, _ := v.reason()
		out[i] = wtproto.NetworkStatus{
			Name: v.name, State: v.state, LastCode: v.code, Reason: words,
			Found: uint64(v.found), Connecting: uint64(v.connecting), Refused: uint64(v.refused),
		}
	}
	if t.router.cfg.IsolateClients && len(out) < wtproto.MaxNetworks {
		out = append(out, isolated)
	}
	return out
}

// view returns the network called name, or v.
func (t *topic) view(name string, v *networkView) *networkView {
	for _, n := range t.networks {
		if n.name == name {
			return n
		}
	}
	return v
}

// TopicStatus is what [Server.TopicsHandler] tells of one topic.
type TopicStatus struct {
	Topic       wtproto.Topic   `json:"topic"`
	Subscribers int             `json:"subscribers"`
	Circuits    int             `json:"circuits"` // open or opening
	Networks    []NetworkReport `json:"networks"`
	Peers       []PeerReport    `json:"peers"` // remembered
}

// NetworkReport is one network's part of a [TopicStatus]. Counts are of peers remembered.
type NetworkReport struct {
	Name       string               `json:"name"`
	State      wtproto.NetworkState `json:"state"`
	Reason     string               `json:"reason,omitempty"` // why no peer is found, and what can be done
	Found      uint64               `json:"found"`
	Connecting uint64               `json:"connecting"`
	Refused    uint64               `json:"refused"`
	LastCode   wtproto.Code         `json:"last_code"`
}

// PeerReport is one peer of a [TopicStatus].
type PeerReport struct {
	ID       string       `json:"id"` // hexadecimal
	Network  string       `json:"network"`
	Address  string       `json:"address,omitempty"`  // the address that answered last, else the one that it was seen at
	Seen     string       `json:"seen,omitempty"`     // the address or name that it was seen at, if another
	SameAs   string       `json:"same_as,omitempty"`  // the id of the peer that is dialed instead: the same TCP service
	Client   bool         `json:"client,omitempty"`   // behind another gateway
	Dialed   int          `json:"dialed"`             // dials that ended
	Answered bool         `json:"answered"`           // once
	Refused  bool         `json:"refused"`            // the last dial failed
	Code     wtproto.Code `json:"code,omitempty"`     // why
	Reason   string       `json:"reason,omitempty"`   // the same in words, and what can be done
	Circuits int          `json:"circuits"`           // open or opening
	RetryAt  *time.Time   `json:"retry_at,omitempty"` // not dialed before
}

// snapshot asks a topic's loop for its status.
type snapshot struct{ reply chan<- TopicStatus } // takes one

func (e snapshot) apply(t *topic) {
	s := TopicStatus{Topic: t.key, Subscribers: len(t.subs), Circuits: t.circuits}
	for i, n := range t.reported() {
		all := n.Reason
		if i < len(t.networks) && t.networks[i].phase == networkOff && t.asked {
			continue // nobody wants it
		}
		if i < len(t.networks) {
			if _, own := t.networks[i].reason(); own != "" {
				all = own
			}
		}
		s.Networks = append(s.Networks, NetworkReport{
			Name: n.Name, State: n.State, Reason: all,
			Found: n.Found, Connecting: n.Connecting, Refused: n.Refused, LastCode: n.LastCode,
		})
	}
	circuits := make(map[counterpart]int)
	for _, sub := range t.subs {
		for key, p := range sub.pairs {
			if p.peer != nil && p.state == pairOpen {
				circuits[key]++
			}
		}
	}
	for _, sub := range t.subs {
		for key, n := range sub.furthers.with {
			circuits[key] += n
		}
	}
	for _, p := range t.peers {
		r := PeerReport{
			ID: hex.EncodeToString([]byte(p.ID)), Network: p.Network, Address: p.address(), Client: p.Client,
			Dialed: p.dialed, Answered: p.answered, Refused: p.refused, Code: p.code, Reason: p.err,
			Circuits: circuits[p.key],
		}
		if p.Address != r.Address {
			r.Seen = p.Address
		}
		if p.sameAs != nil {
			r.SameAs = hex.EncodeToString([]byte(p.sameAs.ID))
		}
		if p.retryAt.After(t.now) {
			at := p.retryAt // p's is the loop's
			r.RetryAt = &at
		}
		s.Peers = append(s.Peers, r)
	}
	slices.SortFunc(s.Peers, func(a, b PeerReport) int { return cmp.Compare(a.ID, b.ID) })
	e.reply <- s
}

// Topics returns the status of every topic that has a subscriber, a circuit, or had one within the
// grace time.
func (s *Server) Topics() []TopicStatus {
	out := []TopicStatus{}
	for _, t := range s.router.all() {
		reply := make(chan TopicStatus, 1)
		t.post(snapshot{reply})
		select {
		case st := <-reply:
			out = append(out, st)
		case <-t.gone:
		}
	}
	slices.SortFunc(out, func(a, b TopicStatus) int { return bytes.Compare(a.Topic[:], b.Topic[:]) })
	return out
}

// TopicsHandler answers GET with the JSON of [Server.Topics]. It shows addresses, so it is for
// operators alone.
func (s *Server) TopicsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !getOnly(w, r) {
			return
		}
		writeJSON(w, struct {
			Topics []TopicStatus `json:"topics"`
		}{s.Topics()})
	})
}

func getOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(b, '\n'))
}
