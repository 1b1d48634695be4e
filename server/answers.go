package server

import (
	"net/http"
	"time"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

// Limits of answers to HTTP/3 requests that clients have not read yet. Each holds a goroutine and
// some memory until the client has read it.
const (
	maxAnswers        = 1024 // at once, of all
	maxAnswersAddress = 64   // and of an IPv4 address or IPv6 /64
	takeWithin        = 15 * time.Second
)

// answer has h answer a request of v. It returns when the client has had room for all of it, after
// takeWithin at most, or when the answer has to make room for another: then the oldest one of the
// busiest address is cut off.
func (a *acceptor) answer(v *visit, w http.ResponseWriter, r *http.Request, h http.Handler) {
	answer := http.NewResponseController(w)
	answer.SetWriteDeadline(time.Now().Add(takeWithin))
	place, out := a.answers.Enter(crowd.AddrOf(v.conn.RemoteAddr()), answer)
	defer a.answers.Leave(place)
	if out != nil {
		name := LimitAnswers
		if out.Reason == crowd.GroupFull {
			name = LimitAnswersAddress
		}
		a.server.cfg.Observer.refused(refuse(name, "too many answers are not taken"))
		out.Who.SetWriteDeadline(past)
	}
	h.ServeHTTP(w, r)
	answer.Flush() // what is small is written now
}
