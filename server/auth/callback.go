package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Bounds of a Callback.
const (
	callbackTimeout  = 2 * time.Second // of a request, with the wait for its turn
	callbackAtOnce   = 256             // requests
	callbackAnswers  = 4096            // that are remembered
	maxCallbackReply = 64 << 10        // bytes
)

// Callback asks a web service who may come in. It POSTs a JSON object with the members token,
// origin, address, transport and agent of the [Request], all of them texts; a token that is not
// UTF-8 is refused without a request. The service answers with
//
//   - 200 and a grant as JSON (see [Grant.UnmarshalJSON]),
//   - 401: CodeUnauthorized, or 403: CodeForbidden.
//
// Anything else, no answer in 2 s, and more than 256 requests at once for so long is CodeBusy:
// clients come back later. No redirect is followed. A grant that expires is remembered until then,
// for the same five texts, unless the answer says "Cache-Control: no-store"; of more than 4,096
// such answers, those that were used last. So a service that wants to be asked again soon lets its
// grants expire soon, at the price of sessions that end and come back then.
//
// Any number of goroutines may use it.
type Callback struct {
	url     string // constant
	log     *slog.Logger
	client  *http.Client
	turns   chan struct{} // holds one for each request
	answers *lru.Cache[[sha256.Size]byte, Grant]
	failing atomic.Bool   // the last request had no answer
	lines   *rate.Limiter // of the log
}

// NewCallback returns a Callback for the service at address: an https URL, or an http one of a
// loopback address. It asks nothing yet. The caller closes it. A nil logger is silent.
func NewCallback(address string, logger *slog.Logger) (*Callback, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("auth: %q: want https, or http on loopback", u.Redacted())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	answers, err := lru.New[[sha256.Size]byte, Grant](callbackAnswers)
	if err != nil {
		return nil, err
	}
	return &Callback{
		url: address, log: logger.With("auth_url", u.Redacted()), answers: answers,
		turns: make(chan struct{}, callbackAtOnce),
		lines: rate.NewLimiter(rate.Every(30*time.Second), 4),
		client: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: callbackAtOnce, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}, nil
}

// Close ends the connections that no request uses.
func (c *Callback) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// callbackRequest is what the service is asked.
type callbackRequest struct {
	Token     string     `json:"token"`
	Origin    string     `json:"origin"`
	Address   netip.Addr `json:"address"`
	Transport string     `json:"transport"`
	Agent     string     `json:"agent"`
}

// Authorize asks the service, unless it knows the answer.
func (c *Callback) Authorize(ctx context.Context, r Request) (Grant, error) {
	if !utf8.Valid(r.Token) {
		return Grant{}, wtproto.Errorf(wtproto.CodeUnauthorized, "the token is not text")
	}
	body, err := json.Marshal(callbackRequest{string(r.Token), r.Origin, r.Address, r.Transport, r.Agent})
	if err != nil {
		return Grant{}, fmt.Errorf("auth: %w", err)
	}
	question := sha256.Sum256(body)
	g, known := c.answers.Get(question)
	if known && g.current() != nil {
		c.answers.Remove(question)
		known = false
	}
	if !known {
		var keep bool
		if g, keep, err = c.ask(ctx, body); err != nil {
			return Grant{}, err
		}
		if keep && !g.Expires.IsZero() {
			c.answers.Add(question, g)
		}
	}
	return g, g.current()
}

// ask asks the service, and reports whether its answer may be kept.
func (c *Callback) ask(session context.Context, body []byte) (g Grant, keep bool, err error) {
	ctx, cancel := context.WithTimeout(session, callbackTimeout)
	defer cancel()
	defer func() {
		if err != nil && session.Err() != nil { // the client has gone, which says nothing of the service
			err = context.Cause(session)
		}
	}()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // or both
		return g, false, c.later(session, fmt.Errorf("more than %d requests at once", callbackAtOnce))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return g, false, c.later(session, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return g, false, c.later(session, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxCallbackReply+1))
	switch {
	case err != nil:
		return g, false, c.later(session, err)
	case resp.StatusCode == http.StatusUnauthorized:
		err = wtproto.Errorf(wtproto.CodeUnauthorized, "this gateway does not know you")
	case resp.StatusCode == http.StatusForbidden:
		err = wtproto.Errorf(wtproto.CodeForbidden, "you may not connect to this gateway")
	case resp.StatusCode != http.StatusOK:
		return g, false, c.later(session, fmt.Errorf("status %s", resp.Status))
	case len(answer) > maxCallbackReply:
		return g, false, c.later(session, fmt.Errorf("an answer of more than %d bytes", maxCallbackReply))
	default:
		if err := json.Unmarshal(answer, &g); err != nil {
			return Grant{}, false, c.later(session, err)
		}
	}
	if c.failing.CompareAndSwap(true, false) {
		c.say(slog.LevelInfo, "the authorizer answers again")
	}
	return g, !strings.Contains(resp.Header.Get("Cache-Control"), "no-store"), err
}

// later notes that the service could not say, and returns what the client is told. It is logged
// once until it can.
func (c *Callback) later(session context.Context, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may hold a password
	}
	if session.Err() == nil && c.failing.CompareAndSwap(false, true) {
		c.say(slog.LevelError, "the authorizer does not answer: nobody can connect", "error", err)
	}
	return &wtproto.Error{Code: wtproto.CodeBusy, Reason: "the authorizer does not answer now", Err: err}
}

// say logs at level, or at debug if it has logged much lately: a stranger whose token makes the
// service fail decides how often it is called.
func (c *Callback) say(level slog.Level, msg string, args ...any) {
	if !c.lines.Allow() {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, msg, args...)
}

// isLoopback reports whether host names this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
