package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/internal/splice"
	"github.com/swarmgate/swarmgate/server/auth"
)

// allowance is how many bytes the circuits of a principal may carry, of all its sessions, both
// ways together. Any number of goroutines may use it.
type allowance struct {
	pace  *rate.Limiter
	quota atomic.Int64 // in all; negative for no limit
	used  atomic.Int64
}

func newAllowance() *allowance {
	a := &allowance{pace: rate.NewLimiter(rate.Inf, 0)}
	a.quota.Store(-1)
	return a
}

// set makes the limits of l those of a.
func (a *allowance) set(l auth.Limits, now time.Time) {
	a.quota.Store(-1)
	if l.Bytes > 0 {
		a.quota.Store(l.Bytes)
	}
	if l.BytesPerSecond <= 0 {
		a.pace.SetLimitAt(now, rate.Inf)
		return
	}
	a.pace.SetLimitAt(now, rate.Limit(l.BytesPerSecond))
	a.pace.SetBurstAt(now, int(max(min(l.BytesPerSecond, 1<<30), splice.BufferSize))) // one read at least
}

// spent reports whether the quota is used up.
func (a *allowance) spent() bool {
	quota := a.quota.Load()
	return quota >= 0 && a.used.Load() >= quota
}

// idle reports whether a new allowance would say the same at now.
func (a *allowance) idle(now time.Time) bool {
	return a.quota.Load() < 0 && (a.pace.Limit() == rate.Inf || a.pace.TokensAt(now) >= float64(a.pace.Burst()))
}

// errQuota says that an allowance was used up.
var errQuota = errors.New("server: no bytes are left")

// spend counts n bytes that were read, at most splice.BufferSize, and waits until they may pass or
// ctx ends. It tells o if they have to.
func (a *allowance) spend(ctx context.Context, n int, o *Observer) error {
	if quota := a.quota.Load(); quota >= 0 && a.used.Add(int64(n)) > quota {
		return errQuota
	}
	if a.pace.Limit() == rate.Inf || a.pace.AllowN(time.Now(), n) {
		return nil
	}
	o.refused(refuse(LimitByteRate, "at most %v bytes a second are allowed", a.pace.Limit()))
	return a.pace.WaitN(ctx, n)
}

// metered is a source of a circuit's bytes that counts them for the principals of its clients.
type metered struct {
	end
	circuit *circuit
}

// Read returns bytes that may pass. It never fills a large buffer, so that few bytes wait for their
// turn together.
func (m metered) Read(b []byte) (int, error) {
	n, err := m.end.Read(b[:min(len(b), splice.BufferSize)])
	for _, l := range m.circuit.legs() {
		if l.session.allowance == nil || n == 0 {
			continue
		}
		if spent := l.session.allowance.spend(&m.circuit.over, n, l.session.cfg.Observer); spent == errQuota {
			r := refuse(LimitBytes, "the %d bytes of this token are used up", l.session.grant.Limits.Bytes)
			l.session.refuse(r)
			return 0, clientGone("the client's session ended", r.Error)
		} else if spent != nil {
			return 0, errOver
		}
	}
	return n, err
}

// metered returns src, which counts its bytes if somebody has to answer for them.
//
//go:noinline
func (c *circuit) metered(src end) end {
	for _, l := range c.legs() {
		if l.session.allowance != nil {
			return metered{src, c}
		}
	}
	return src
}
