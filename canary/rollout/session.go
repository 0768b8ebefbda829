package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// doubted is how long after the end of a session the watch is not taken at its
// word: a session may end because Consul lost its state, and what is gone with
// that is shown for a while, the lock of a leader too.
const doubted = 15 * time.Minute

// session is what this balancer's keys belong to, and the lock of the leader.
type session struct {
	id      string // "": none
	made    time.Time
	renewed time.Time // when the last request that prolonged it was sent
	busy    bool
	next    time.Time // when to make or renew it

	holds     bool // the lock
	confirmed bool // the watch showed that
	asked     time.Time
	asking    bool
	elect     time.Time // when to try again to get the lock
}

// alive tells whether Consul cannot have ended the session yet. It asks the
// monotonic clock, and counts from when a renewal was sent.
func (s *session) alive(now time.Time) bool {
	return s.id != "" && now.Sub(s.renewed) < sessionTTL
}

func (r *run) leads(now time.Time) bool { return r.session.holds && r.session.alive(now) }

// keepSession makes a session, renews it, and makes another when it has ended.
func (r *run) keepSession(now time.Time) {
	s := &r.session
	if s.holds && !s.alive(now) {
		r.resign("Consul did not renew the session in time")
	}
	if s.busy || now.Before(s.next) {
		return
	}
	s.busy = true
	if s.id == "" {
		r.apart(func(ctx context.Context) func() {
			sent := time.Now()
			id, err := call(ctx, func(ctx context.Context) (string, error) {
				return r.f.Store.NewSession(ctx, "lb "+r.f.Self.ID, sessionTTL)
			})
			return func() { r.onSession(id, sent, err) }
		})
		return
	}
	id := s.id
	r.apart(func(ctx context.Context) func() {
		sent := time.Now()
		_, err := call(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.f.Store.RenewSession(ctx, id)
		})
		return func() { r.onRenewed(id, sent, err) }
	})
}

func (r *run) onSession(id string, sent time.Time, err error) {
	s := &r.session
	s.busy = false
	r.say("making a session in Consul", err)
	if err != nil {
		s.next = time.Now().Add(2 * retryAfter)
		return
	}
	*s = session{id: id, made: sent, renewed: sent, next: sent.Add(renewEvery)}
	r.dirty, r.again = true, true
}

func (r *run) onRenewed(id string, sent time.Time, err error) {
	s := &r.session
	s.busy = false
	switch {
	case s.id != id:
	case errors.Is(err, ErrNoSession):
		r.loseSession(id)
	case err != nil:
		r.say("renewing the session in Consul", err)
		s.next = time.Now().Add(retryAfter)
	default:
		r.say("renewing the session in Consul", nil)
		s.renewed, s.next = sent, sent.Add(renewEvery)
	}
}

// loseSession begins anew after a session that has ended.
func (r *run) loseSession(id string) {
	if r.session.id != id {
		return
	}
	r.log.Warn("the session in Consul has ended, making another", "session", id)
	if r.session.holds {
		r.resign("its session has ended")
	}
	r.session = session{busy: r.session.busy, next: r.session.made.Add(retryAfter)}
	r.doubt = time.Now().Add(doubted)
	r.dirty = true
}

func (r *run) resign(why string) {
	r.session.holds, r.session.confirmed = false, false
	r.log.Warn("this balancer no longer takes the steps of rollouts", "because", why)
	r.dirty = true
}

// elect gets the lock when nobody has it.
func (r *run) elect(now time.Time) {
	s := &r.session
	if !s.alive(now) || r.world == nil {
		return
	}
	holder := r.world.lock.session
	switch {
	case s.holds && holder == s.id:
		s.confirmed = true
		return
	case s.holds && (s.confirmed || now.Sub(s.asked) > storeLimit):
		r.resign("another has the lock, or nobody")
	case s.holds:
		return // the watch is behind
	}
	free := holder == "" || holder == s.id || now.Before(r.doubt)
	if !free || s.asking || now.Before(s.elect) || r.lost != nil && !now.Before(r.doubt) {
		return
	}
	s.asking, s.asked = true, now
	id := s.id
	value, _ := json.Marshal(r.f.Self)
	r.apart(func(ctx context.Context) func() {
		got, err := call(ctx, func(ctx context.Context) (bool, error) {
			return r.f.Store.Acquire(ctx, LeaderKey, value, id)
		})
		return func() { r.onElected(id, got, err) }
	})
}

func (r *run) onElected(id string, got bool, err error) {
	s := &r.session
	if s.id != id {
		return
	}
	s.asking = false
	s.elect = time.Now().Add(retryAfter + rand.N(retryAfter/4))
	if r.world != nil && r.world.lock.session != "" {
		s.elect = time.Now().Add(storeLimit)
	}
	if errors.Is(err, ErrNoSession) {
		r.loseSession(id)
		return
	}
	r.say("asking for the leader's lock", err)
	if got && err == nil {
		s.holds, s.confirmed, s.asked = true, false, time.Now()
		clear(r.looked)
		r.log.Info("this balancer takes the steps of rollouts from now on")
		r.dirty = true
	}
}
