package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// events reports what happens: with --json as lines of JSON on standard output. Without it, the
// bytes of peers go to standard output and words to the log or the terminal. Any number of
// goroutines may use it.
type events struct {
	json bool
	log  *slog.Logger
	fail func(error) // is called if standard output fails

	// lasting programs go on if nobody reads standard output any more. Set before the first event.
	lasting bool

	terminal *terminal // nil unless people read standard error

	mu     sync.Mutex
	out    io.Writer // guarded by mu
	unread bool      // guarded by mu; nobody reads out any more
}

// errUnread is why programs end that are not lasting if nobody reads their output any more, for
// example behind head. They say nothing then.
var errUnread = errors.New("nobody reads standard output")

func newEvents(out io.Writer, asJSON bool, log *slog.Logger, fail func(error)) *events {
	return &events{json: asJSON, log: log, fail: fail, out: out}
}

// write writes to standard output.
func (e *events) write(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unread {
		return nil
	}
	if _, err := e.out.Write(b); err != nil {
		switch gone := errors.Is(err, syscall.EPIPE); {
		case gone && e.lasting:
			e.unread = true
			e.log.Warn(errUnread.Error() + " any more")
			return nil
		case gone:
			err = errUnread
		default:
			err = fmt.Errorf("stdout: %w", err)
		}
		e.fail(err)
		return err
	}
	return nil
}

// line writes v as a line of JSON.
func (e *events) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.write(append(b, '\n'))
}

// tell reports an event: as a line of JSON with --json, as a line for people if standard error is
// a terminal, and otherwise as words in the log.
func (e *events) tell(v event, words string, args ...any) {
	switch {
	case e.json:
		_ = e.line(v) // an error ends the program
	case e.terminal != nil:
		e.terminal.tell(v)
	default:
		e.log.Info(words, args...)
	}
}

// joined tells that a topic was joined. key is that of this end in a secret room, empty elsewhere.
func (e *events) joined(t topicArg, key, transport string) {
	args := []any{"topic", t.Topic}
	if key != "" {
		args = append(args, "key", keyForPeople(key))
	}
	v := event{Event: "joined", Transport: transport, Topic: t.String(), Name: t.label(), Key: key}
	e.tell(v, "joined"+over(transport), args...)
}

// ready tells how others reach a native peer: as a line of its own on standard output with --json.
func (e *events) ready(r readyLine, topic topicArg) error {
	if e.json {
		return e.line(r)
	}
	e.tell(readyEvent(r, topic), "ready", "topic", r.Topic, "id", r.ID, "addrs", r.Addrs)
	return nil
}

// file tells of a file that was sent or received, as sha256sum does.
func (e *events) file(what, name string, size int64, sum [32]byte) error {
	digits := hex.EncodeToString(sum[:])
	if e.json {
		return e.line(event{Event: what, Name: name, Size: &size, SHA256: digits})
	}
	return e.write(fmt.Appendf(nil, "%s  %s\n", digits, name))
}

// warn warns of a risk that the user may not know.
func (e *events) warn(words string) {
	if e.terminal != nil {
		e.tell(event{Event: "warning", Message: words}, words)
		return
	}
	e.log.Warn(words)
}

// share prints what to tell others, so that they find a topic.
func (e *events) share(u wtproto.GatewayURL) error {
	if e.json {
		return e.line(event{Event: "share", URL: u.String()})
	}
	return e.write([]byte(u.String() + "\n"))
}

// code prints the code by which somebody else finds the topic.
func (e *events) code(c code) error {
	if e.json {
		return e.line(event{Event: "share", Name: string(c)})
	}
	return e.write([]byte(string(c) + "\n"))
}

// disconnected tells that the session was lost, and that the client looks for another one.
func (e *events) disconnected(err error) {
	e.tell(event{Event: "disconnected", Code: codeOf(err).String(), Message: err.Error()}, "disconnected", "error", err)
}

// reconnecting tells that gateways will be tried again.
func (e *events) reconnecting(r client.Reconnecting) {
	ms := r.Delay.Milliseconds()
	v := event{Event: "reconnecting", Attempt: r.Attempt, Delay: &ms, Code: codeOf(r.Err).String(), Message: r.Err.Error()}
	e.tell(v, "reconnecting", "attempt", r.Attempt, "delay", r.Delay, "error", r.Err)
}

// connected tells that there is another session, with the topic joined again.
func (e *events) connected(gateway, transport string) {
	v := event{Event: "connected", Transport: transport, Message: gateway}
	e.tell(v, "connected"+over(transport), "gateway", gateway)
}

// over returns what to say of a transport, which is nothing of QUIC.
func over(transport string) string {
	if transport == client.TransportWebSocket {
		return " over WebSocket"
	}
	return ""
}

// left tells that a topic was left, regularly if err is nil.
func (e *events) left(t wtproto.Topic, err error) {
	v := event{Event: "left", Topic: t.String(), Code: codeOf(err).String()}
	if err != nil {
		v.Message = err.Error()
	}
	e.tell(v, "left", "topic", t)
}

// listening tells where local connections are accepted.
func (e *events) listening(address string) {
	e.tell(event{Event: "listening", Address: address}, "listening", "address", address)
}

// present tells people who is on a topic. Others have the events of circuits.
func (e *events) setPeers(all []client.Peer) {
	if e.terminal == nil {
		return
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = newPeerInfo(p.ID, p.Network, p.Address, p.Initiator, p.Client).short()
	}
	e.terminal.setPeers(names)
}

// found tells of a peer that streams may be opened with.
func (e *events) found(p peerInfo) {
	e.tell(event{Event: "found", Peer: &p}, "found a peer", "network", p.Network, "id", p.name())
}

// gone tells that such a peer has left.
func (e *events) gone(p peerInfo) {
	e.tell(event{Event: "gone", Peer: &p}, "a peer has left", "network", p.Network, "id", p.name())
}

// waiting tells that a connection has come, and there is no peer for it yet.
func (e *events) waiting() { e.tell(event{Event: "waiting"}, "waiting for a peer") }

// refused tells that a local connection got no stream.
func (e *events) refused(from string, err error) {
	v := event{Event: "refused", Address: from, Code: codeOf(err).String(), Message: err.Error()}
	e.tell(v, "no stream for a connection", "from", from, "error", err)
}

func (e *events) peer(circuit int, p peerInfo) {
	args := []any{"circuit", circuit, "network", p.Network, "id", p.name()}
	if p.Key != "" {
		args = append(args, "key", keyForPeople(p.Key))
	}
	e.tell(event{Event: "peer", Circuit: circuit, Peer: &p}, "peer", args...)
}

// data tells of bytes that came from a peer.
func (e *events) data(circuit int, b []byte) error {
	if e.json {
		return e.line(event{Event: "data", Circuit: circuit, Data: b})
	}
	return e.write(b)
}

// end tells that a circuit is over, regularly if err is nil.
func (e *events) end(circuit int, n traffic, err error) {
	v := event{Event: "end", Circuit: circuit, Sent: &n.sent, Received: &n.received, Code: codeOf(err).String()}
	if err == nil {
		e.tell(v, "peer has ended", "circuit", circuit, "sent", n.sent, "received", n.received)
		return
	}
	v.Message = err.Error()
	e.tell(v, "circuit was cut off", "circuit", circuit, "sent", n.sent, "received", n.received, "error", err)
}

// status tells of a STATUS: with --json as an event, and otherwise in the log with --verbose.
func (e *events) status(topic wtproto.Topic, m client.Status) {
	v := statusEvent(topic, m)
	if !e.json {
		e.log.Debug("status", "known", m.Known, "connected", m.Connected, "networks", v.Status.Networks)
		return
	}
	e.tell(v, "")
}

// failed tells of the error that the program ends with. Without --json it is printed at the end.
func (e *events) failed(err error) {
	if e.json {
		e.tell(event{Event: "error", Code: codeOf(err).String(), Message: err.Error()}, "")
	}
}

// codeOf returns the code in err, NONE if err is nil, SHUTDOWN if the end of the program has
// closed the connection, and INTERNAL if err has no code.
func codeOf(err error) wtproto.Code {
	e, ok := errors.AsType[*wtproto.Error](err)
	switch {
	case err == nil:
		return wtproto.CodeNone
	case ok:
		return e.Code
	case errors.Is(err, net.ErrClosed):
		return wtproto.CodeShutdown
	default:
		return wtproto.CodeInternal
	}
}
