package secret

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flynn/noise"

	"github.com/swarmgate/swarmgate/wtproto"
)

// careless makes the handshake with a payload in each message, and does not look at the other
// end's key. It returns the binding.
func careless(rw io.ReadWriter, r *Room, initiator bool, payload []byte) (binding [32]byte, err error) {
	own := r.Key()
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeXX, Initiator: initiator,
		Prologue: append([]byte(label), r.topic[:]...), PresharedKey: r.psk[:],
		StaticKeypair: noise.DHKey{Private: r.identity.Bytes(), Public: own[:]},
	})
	if err != nil {
		return binding, err
	}
	for i := range 3 {
		if initiator == (i%2 == 0) {
			message, _, _, err := hs.WriteMessage(nil, payload)
			if err != nil {
				return binding, err
			}
			if _, err := rw.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
				return binding, err
			}
		} else if _, _, err := readHandshake(rw, hs, 0); err != nil {
			return binding, err
		}
	}
	return [32]byte(hs.ChannelBinding()), nil
}

// Who does not know the secret fails with the first message, and learns no key.
func TestOtherSecret(t *testing.T) {
	x, y := newPipe()
	_, _, err1, err2 := sealBoth(t, NewRoom(Secret{1}, nil), NewRoom(Secret{2}, nil), x, y)
	wantProtocol(t, err2)
	if !errors.Is(err1, &wtproto.Error{Code: wtproto.CodeProtocol, Remote: true}) {
		t.Errorf("the initiator's error is %v", err1)
	}
	if n := y.out.sent.Len(); n > 0 {
		t.Errorf("the responder has sent %d bytes", n)
	}
}

// A gateway that tells both ends that they are the initiator, or neither, does not get them
// connected.
func TestLiesAboutTheInitiator(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			x, y := newPipe()
			errs := make(chan error)
			for _, p := range []*pipe{x, y} {
				go func() {
					_, err := testRoom().SealCircuit(t.Context(), p, initiator)
					errs <- err
				}()
			}
			start := time.Now()
			first, second := <-errs, <-errs
			for _, err := range []error{first, second} {
				if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != wtproto.CodeProtocol {
					t.Errorf("error %v", err)
				}
			}
			if d := time.Since(start); initiator && d != 0 || !initiator && d != handshakeTime {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// What an end sends is not good enough as the other end's answer.
func TestReflection(t *testing.T) {
	x, y := newPipe()
	go io.Copy(y, y)
	_, err := testRoom().SealCircuit(t.Context(), x, true)
	wantProtocol(t, err)
}

// Records of one direction are not records of the other one.
func TestRecordsAreNotReflected(t *testing.T) {
	a, _, x, y := sealedPair(t, 3)
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 2+5+tagSize)
	if _, err := io.ReadFull(y, record); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Write(record); err != nil {
		t.Fatal(err)
	}
	_, err := a.Read(make([]byte, 5))
	wantProtocol(t, err)
	if code := <-x.reset; code != wtproto.CodeProtocol {
		t.Errorf("reset with %v", code)
	}
	if _, err := a.Write([]byte("more")); err == nil {
		t.Error("Write after it has no error")
	} else {
		wantProtocol(t, err)
	}
}

// A gateway that joins the circuits of one client with each other shows it its own key.
func TestOwnKey(t *testing.T) {
	room := testRoom()
	x, y := newPipe()
	a, b, err1, err2 := sealBoth(t, room, room, x, y)
	wantProtocol(t, err1)
	if a != nil || b != nil || err2 == nil || !errors.Is(err1, errOwnKey) {
		t.Errorf("sealed %v, %v, errors %v, %v", a, b, err1, err2)
	}
}

// The responder recognizes its own key too, if the initiator does not look.
func TestOwnKeyAtTheResponder(t *testing.T) {
	room := testRoom()
	x, y := newPipe()
	var wg sync.WaitGroup
	wg.Go(func() { careless(x, room, true, nil) })
	_, err := room.SealCircuit(t.Context(), y, false)
	wg.Wait()
	wantProtocol(t, err)
	if !errors.Is(err, errOwnKey) {
		t.Errorf("error %v", err)
	}
}

func TestHandshakeEnds(t *testing.T) {
	gone := errors.New("enough")
	for _, c := range []struct {
		name  string
		ctx   func(context.Context) (context.Context, context.CancelFunc)
		after time.Duration
		want  error
		code  wtproto.Code
	}{
		{"nothing comes", context.WithCancel, handshakeTime, errTooSlow, wtproto.CodeProtocol},
		{"the context has ended", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(gone)
			return ctx, func() {}
		}, 0, gone, wtproto.CodeNone},
		{"the context has a deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, time.Second, context.DeadlineExceeded, wtproto.CodeNone},
	} {
		for _, initiator := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				x, _ := newPipe()
				ctx, cancel := c.ctx(t.Context())
				defer cancel()
				start := time.Now()
				_, err := testRoom().SealCircuit(ctx, x, initiator)
				if d := time.Since(start); !errors.Is(err, c.want) || d != c.after {
					t.Errorf("%s: %v after %v, want %v after %v", c.name, err, d, c.want, c.after)
				}
				if code := <-x.reset; code != c.code {
					t.Errorf("%s: reset with %v", c.name, code)
				}
			})
		}
	}
}

// A payload of a message of the handshake is ignored.
func TestPayloadsAreIgnored(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		x, y := newPipe()
		done := make(chan [32]byte, 1)
		go func() {
			binding, err := careless(x, testRoom(), initiator, []byte(strings.Repeat("payload ", 1000)))
			if err != nil {
				t.Error(err)
			}
			done <- binding
		}()
		conn, err := testRoom().SealCircuit(t.Context(), y, !initiator)
		if err != nil {
			t.Fatal(err)
		}
		if binding := <-done; binding != conn.Binding() {
			t.Errorf("bindings %x and %x", binding, conn.Binding())
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := Secret{}
	for i := range s {
		s[i] = 0xab
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		text := fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, struct{ S Secret }{s})
		if strings.Contains(text, "ab") || strings.Contains(text, "171") {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}

func TestParse(t *testing.T) {
	s := New()
	if got, err := Parse(strings.ToUpper(s.Hex())); got != s || err != nil {
		t.Errorf("Parse = %x, %v, want %x", got[:], err, s[:])
	}
	if _, err := Parse(""); err == nil {
		t.Error("an empty text is a secret")
	}
	if text, err := Parse(s.Hex()[1:]); text == s || text == (Secret{}) || err != nil {
		t.Errorf("63 digits are not a text: %v", err)
	}
}

func TestIdentityIsKept(t *testing.T) {
	id := NewIdentity()
	again, err := ParseIdentity(id.Bytes())
	if err != nil || again.Key() != id.Key() {
		t.Errorf("%v, %v, want %v", again.Key(), err, id.Key())
	}
	if _, err := ParseIdentity(id.Bytes()[1:]); err == nil {
		t.Error("31 bytes are an identity")
	}
}
