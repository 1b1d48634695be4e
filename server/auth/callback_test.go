package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// service is a web service that a Callback asks.
func service(t *testing.T, log *slog.Logger, handler http.HandlerFunc) *Callback {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := NewCallback(s.URL, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var request = Request{
	Token: []byte("t\"é"), Origin: "https://a.example", Address: netip.MustParseAddr("192.0.2.1"), Transport: "quic", Agent: "test/1",
}

// The service is told all, and its answer is the grant.
func TestCallback(t *testing.T) {
	c := service(t, nil, func(w http.ResponseWriter, r *http.Request) {
		var got map[string]any
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		want := map[string]any{"token": "t\"é", "origin": "https://a.example", "address": "192.0.2.1", "transport": "quic", "agent": "test/1"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
		io.WriteString(w, `{"name": "alice", "topics": ["ab*"], "limits": {"circuits": 7}}`)
	})
	want := Grant{Name: "alice", Topics: []TopicPrefix{{0xab}}, Limits: Limits{Circuits: 7}}
	if g, err := c.Authorize(t.Context(), request); err != nil || !reflect.DeepEqual(g, want) {
		t.Errorf("Authorize = %+v, %v, want %+v", g, err, want)
	}
}

// What each answer means. A client that is told BUSY comes back.
func TestCallbackRefusals(t *testing.T) {
	var status int
	var body string
	c := service(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		if r.URL.Path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	for _, tt := range []struct {
		status int
		body   string
		want   wtproto.Code
	}{
		{200, "{}", wtproto.CodeNone},
		{401, "", wtproto.CodeUnauthorized},
		{403, "{}", wtproto.CodeForbidden},
		{200, `{"expires": "2001-01-01T00:00:00Z"}`, wtproto.CodeTokenExpired},
		{200, "", wtproto.CodeBusy},
		{200, `{"topic": []}`, wtproto.CodeBusy},
		{200, "{} {}", wtproto.CodeBusy},
		{200, `{"name": "` + strings.Repeat("a", maxCallbackReply) + `"}`, wtproto.CodeBusy},
		{201, "{}", wtproto.CodeBusy},
		{302, "{}", wtproto.CodeBusy},
		{404, "{}", wtproto.CodeBusy},
		{500, "{}", wtproto.CodeBusy},
	} {
		status, body = tt.status, tt.body
		if _, err := c.Authorize(t.Context(), request); codeOf(err) != tt.want {
			t.Errorf("%d %.40s: %v, want %v", tt.status, tt.body, err, tt.want)
		}
	}
	if _, err := c.Authorize(t.Context(), Request{Token: []byte{0xff}}); codeOf(err) != wtproto.CodeUnauthorized {
		t.Errorf("a token that is not text: %v", err)
	}
}

func TestNewCallback(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://auth.example/check": true, "http://127.0.0.1:1/": true, "http://[::1]:1": true, "http://localhost": true,
		"http://auth.example": false, "http://127.0.0.1.example": false, "ftp://127.0.0.1": false, "https://": false, "auth.example": false, "": false,
		"http://user:secret@auth.example": false,
	} {
		c, err := NewCallback(address, nil)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok = %v", address, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
		if c != nil {
			c.Close()
		}
	}
}

// fakeService answers the requests of a Callback in a bubble, where there are no sockets.
type fakeService struct {
	asked  atomic.Int64
	answer func(r *http.Request) (*http.Response, error)
}

func (s *fakeService) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	return s.answer(r)
}

// says returns an answer with a body.
func says(body string, header ...string) *http.Response {
	r := &http.Response{StatusCode: 200, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// inBubble runs f with a Callback whose service answers with answer.
func inBubble(t *testing.T, log *slog.Logger, answer func(r *http.Request) (*http.Response, error), f func(t *testing.T, c *Callback, s *fakeService)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewCallback("https://user:secret@auth.example", log)
		if err != nil {
			t.Fatal(err)
		}
		s := &fakeService{answer: answer}
		c.client.Transport = s
		f(t, c, s)
	})
}

// An answer is remembered until it expires, for what was asked and nothing else.
func TestCallbackRemembers(t *testing.T) {
	inBubble(t, nil, func(*http.Request) (*http.Response, error) {
		return says(`{"expires": "` + time.Now().Add(time.Minute).Format(time.RFC3339) + `"}`), nil
	}, func(t *testing.T, c *Callback, s *fakeService) {
		for _, step := range []struct {
			name  string
			after time.Duration
			edit  func(*Request)
			asked int64
		}{
			{"first", 0, func(*Request) {}, 1},
			{"again", 59 * time.Second, func(*Request) {}, 1},
			{"another token", 0, func(r *Request) { r.Token = []byte("u") }, 2},
			{"another origin", 0, func(r *Request) { r.Origin = "" }, 3},
			{"another address", 0, func(r *Request) { r.Address = netip.MustParseAddr("192.0.2.2") }, 4},
			{"another transport", 0, func(r *Request) { r.Transport = "webtransport" }, 5},
			{"another agent", 0, func(r *Request) { r.Agent = "" }, 6},
			{"expired", time.Second, func(*Request) {}, 7},
			{"known anew", 0, func(*Request) {}, 7},
		} {
			time.Sleep(step.after)
			r := request
			step.edit(&r)
			if _, err := c.Authorize(t.Context(), r); err != nil || s.asked.Load() != step.asked {
				t.Errorf("%s: %v after %d requests, want %d", step.name, err, s.asked.Load(), step.asked)
			}
		}
	})
}

// Answers that do not expire, or that the service wants to be asked for again, are not remembered,
// and of others only so many.
func TestCallbackForgets(t *testing.T) {
	expires := `{"expires": "2030-01-01T00:00:00Z"}`
	for _, answer := range []*http.Response{says("{}"), says(expires, "Cache-Control", "private, no-store")} {
		body, _ := io.ReadAll(answer.Body)
		inBubble(t, nil, func(*http.Request) (*http.Response, error) {
			r := *answer
			r.Body = io.NopCloser(bytes.NewReader(body))
			return &r, nil
		}, func(t *testing.T, c *Callback, s *fakeService) {
			c.Authorize(t.Context(), request)
			c.Authorize(t.Context(), request)
			if n := s.asked.Load(); n != 2 {
				t.Errorf("%s: %d requests, want 2", body, n)
			}
		})
	}
	inBubble(t, nil, func(*http.Request) (*http.Response, error) { return says(expires), nil }, func(t *testing.T, c *Callback, s *fakeService) {
		for i := range callbackAnswers + 10 {
			c.Authorize(t.Context(), Request{Token: []byte{'a' + byte(i%20), 'a' + byte(i/20%20), 'a' + byte(i/400)}})
		}
		if n := c.answers.Len(); n != callbackAnswers {
			t.Errorf("%d answers are remembered, want %d", n, callbackAnswers)
		}
	})
}

// A service that does not answer is given 2 s, with the wait for one's turn, and told of in the
// log once.
func TestCallbackHangs(t *testing.T) {
	var log bytes.Buffer
	var now atomic.Int64 // requests
	inBubble(t, slog.New(slog.NewTextHandler(&log, nil)), func(r *http.Request) (*http.Response, error) {
		if n := now.Add(1); n > callbackAtOnce {
			t.Errorf("%d requests at once, want %d at most", n, callbackAtOnce)
		}
		defer now.Add(-1)
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, func(t *testing.T, c *Callback, s *fakeService) {
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 * callbackAtOnce {
			wg.Go(func() {
				if _, err := c.Authorize(t.Context(), request); codeOf(err) != wtproto.CodeBusy {
					t.Errorf("Authorize = %v, want BUSY", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != callbackTimeout {
			t.Errorf("it took %v, want %v", took, callbackTimeout)
		}
		if n := s.asked.Load(); n < callbackAtOnce {
			t.Errorf("%d requests were made, want %d at least", n, callbackAtOnce)
		}
		s.answer = func(*http.Request) (*http.Response, error) { return says("{}"), nil }
		if _, err := c.Authorize(t.Context(), request); err != nil {
			t.Error(err)
		}
		s.answer = func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }
		c.Authorize(t.Context(), request)
		if n := strings.Count(log.String(), "level=ERROR"); n != 2 || strings.Contains(log.String(), "secret") {
			t.Errorf("%d errors are logged, want 2, without the password:\n%s", n, log.String())
		}
	})
}

// A client that has gone says nothing about the service.
func TestCallbackOfAClientThatHasGone(t *testing.T) {
	var log bytes.Buffer
	gone := errors.New("gone")
	inBubble(t, slog.New(slog.NewTextHandler(&log, nil)), func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, func(t *testing.T, c *Callback, s *fakeService) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := c.Authorize(ctx, request); err != gone || log.Len() != 0 {
			t.Errorf("Authorize = %v, want %v, logged %q", err, gone, log.String())
		}
	})
}

// A stranger whose token makes the service fail can have it fail and answer in turn. The log says
// so now and then only.
func TestCallbackLogIsBounded(t *testing.T) {
	var lines atomic.Int64
	log := slog.New(countingHandler{&lines})
	answer := func(r *http.Request) (*http.Response, error) {
		b, err := io.ReadAll(r.Body)
		if err == nil && bytes.Contains(b, []byte("bad")) {
			err = errors.New("fails on this one")
		}
		if err != nil {
			return nil, err
		}
		return says("{}"), nil
	}
	inBubble(t, log, answer, func(t *testing.T, c *Callback, _ *fakeService) {
		for range 1000 {
			c.Authorize(t.Context(), Request{Token: []byte("bad")})
			c.Authorize(t.Context(), Request{Token: []byte("good")})
		}
		if n := lines.Load(); n == 0 || n > 4 {
			t.Errorf("%d lines at info and above, want 1 to 4", n)
		}
		lines.Store(0)
		<-time.After(time.Minute)
		c.Authorize(t.Context(), Request{Token: []byte("bad")})
		if n := lines.Load(); n != 1 {
			t.Errorf("%d lines a minute later, want 1", n)
		}
	})
}

// countingHandler counts lines at info and above.
type countingHandler struct{ lines *atomic.Int64 }

func (h countingHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h countingHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h countingHandler) WithGroup(string) slog.Handler                { return h }

func (h countingHandler) Handle(context.Context, slog.Record) error {
	h.lines.Add(1)
	return nil
}
